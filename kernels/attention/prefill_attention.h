// Attention of prefill blocks over two segments: the sequence's resident slots (no mask) and the block itself
// (causal), with the log-sum-exp of every query (docs/method.md).
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

struct PrefillAttention {
  Tensor q;   // [T, Hq, D] bf16 or fp32
  Tensor k;   // [T, Hkv, D] staging, KV dtype
  Tensor v;   // [T, Hkv, D] staging, KV dtype
  KvView kv;  // slots [0, row.resident) of row.sequence in `layer`
  int32_t layer = 0;
  Rows rows;        // row.token_count >= 1, any row.resident
  float scale = 0;  // > 0
  Tensor out;       // [T, Hq, D] of q's dtype; only the rows' tokens are written
  Tensor lse;       // [T, Hq] fp32, ln Σ exp(q·k · scale); only the rows' tokens are written
};
// Hq / Hkv in 1..8 query heads share a KV head. Softmax and accumulation fp32.
void prefill_attention(const Stream& stream, const PrefillAttention& args);

}  // namespace batchmax::kernels
