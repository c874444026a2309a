// The kernels behind prefill_mass: one for each kind of arithmetic. And what they share.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/attention/prefill_mass.h"

namespace batchmax::kernels::cuda {

struct MassArgs {
  const void* q;
  const void* k;
  const float* lse;
  float* mass_new;
  KvView kv;
  const Row* rows;
  int32_t layer;
  int32_t group;
  float scale2;  // scale · log2 e
};

// Devices of compute capability 9.0, in builds for sm_90a. `tokens`: rows of the staging tensors; `tiles`:
// the most tiles of 64 keys that a row has.
void prefill_mass_wgmma(cudaStream_t stream, const MassArgs& args, int64_t tokens, int32_t rows,
                        int32_t tiles, int multiprocessors);

}  // namespace batchmax::kernels::cuda
