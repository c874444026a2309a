// What every CUDA source calls around the runtime: the stream of an op, and errors that name call, device and
// CUDA's own message. For sources below cuda/ and for comm/group's NCCL.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/core/stream.h"

namespace batchmax::kernels::cuda {

// The op's CUDA stream; its device becomes the calling thread's current one, which launches and allocations
// need. Nanoseconds when it already is.
cudaStream_t stream_of(const Stream& stream);

// Throws std::runtime_error "CALL failed on CUDA device N: MESSAGE".
[[noreturn]] void fail(const char* call, cudaError_t error);
inline void check(cudaError_t error, const char* call) {
  if (error != cudaSuccess) fail(call, error);
}

// After a launch: a geometry or resource that the device does not have. What goes wrong while the kernel runs
// is reported by a later call.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace batchmax::kernels::cuda
