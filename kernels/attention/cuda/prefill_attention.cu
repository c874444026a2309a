// Which kernel a prefill block gets: tensor cores where queries and KV are bf16 (Hopper has its
// own way to them), fp32 arithmetic elsewhere.
// The geometry follows the rows' lengths: prefill is not captured.
#include "kernels/attention/cuda/prefill_attention.h"

#include <algorithm>

#include "kernels/attention/backends.h"
#include "kernels/attention/cuda/attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {

// BATCHMAX_CUDA_90A: the build has machine code for sm_90a, which no other device runs.
bool has_warpgroup_products(int device) {
#ifdef BATCHMAX_CUDA_90A
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major == 9;
#else
  return device < 0;
#endif
}

namespace {

void prefill_attention(const Stream& stream, const PrefillAttention& of, bool warpgroups) {
  if (of.rows.count == 0) return;
  PrefillArgs args{};
  args.q = of.q.data();
  args.k = of.k.data();
  args.v = of.v.data();
  args.out = of.out.data();
  args.lse = of.lse.as<float>();
  args.kv = of.kv;
  args.rows = of.rows.data;
  args.layer = of.layer;
  args.group = static_cast<int32_t>(of.q.dim(1)) / of.kv.kv_heads;
  args.scale2 = of.scale * kLog2E;
  int32_t tokens = 0;
  for (int32_t r = 0; r < of.rows.count; ++r) tokens = std::max(tokens, of.rows.host[r].token_count);
  const int32_t queries = tokens * args.group;
  cudaStream_t on = stream_of(stream);
  if (of.q.dtype() != DType::bf16 || of.kv.dtype != DType::bf16) {
    prefill_attention_plain(on, args, of.rows.count, queries, of.q.dtype());
  } else if (warpgroups) {
    int multiprocessors = 0;
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, stream.device()),
          "cudaDeviceGetAttribute");
    prefill_attention_wgmma(on, args, of.k.dim(0), of.rows.count, queries, multiprocessors);
  } else {
    prefill_attention_mma(on, args, of.rows.count, queries);
  }
}

}  // namespace

void prefill_attention(const Stream& stream, const PrefillAttention& args) {
  prefill_attention(stream, args, has_warpgroup_products(stream.device()));
}

void prefill_attention_mma_sync(const Stream& stream, const PrefillAttention& args) {
  prefill_attention(stream, args, false);
}

}  // namespace batchmax::kernels::cuda
