// Marks small pure functions that both backends share: host code always, device code too when nvcc compiles
// them. Such functions use plain arithmetic only; anything of the standard library that is not constexpr
// stays out.
#pragma once

#ifdef __CUDACC__
#define BATCHMAX_HOST_DEVICE __host__ __device__
#else
#define BATCHMAX_HOST_DEVICE
#endif
