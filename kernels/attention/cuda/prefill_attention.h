// The kernels behind prefill_attention: one for each kind of arithmetic.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/attention/prefill_attention.h"

namespace batchmax::kernels::cuda {

struct PrefillArgs {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  float* lse;
  KvView kv;
  const Row* rows;
  int32_t layer;
  int32_t group;
  float scale2;  // scale · log2 e
};

// Whether the device has the instructions of prefill_wgmma.cu, and the build machine code with them.
bool has_warpgroup_products(int device);

// `queries`: the most that a row has for a KV head (tokens · group).
void prefill_attention_mma(cudaStream_t stream, const PrefillArgs& args, int32_t rows, int32_t queries);
// Devices of compute capability 9.0, in builds for sm_90a. `tokens`: rows of the staging tensors.
void prefill_attention_wgmma(cudaStream_t stream, const PrefillArgs& args, int64_t tokens, int32_t rows,
                             int32_t queries, int multiprocessors);
void prefill_attention_plain(cudaStream_t stream, const PrefillArgs& args, int32_t rows, int32_t queries,
                             DType q_type);

}  // namespace batchmax::kernels::cuda
