// Splits the fused QKV projection, normalises heads where the model asks for it, rotates q and k, and writes
// k and v to the one-layer staging buffer in the KV dtype.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

struct RopeStage {
  Tensor qkv;        // [T, (Hq + 2 Hkv) * D]  q heads, then k heads, then v heads; bf16 or fp32
  Tensor positions;  // [T] i32
  Tensor tables;     // [T] i32, RopeTable index of each token
  RopeTable rope;
  Tensor q_norm;  // [D] RMS norm of each q head before the rotation (Qwen3); absent: none
  Tensor k_norm;  // [D]
  float eps = 0;
  Tensor q;  // out [T, Hq, D] of qkv's dtype
  Tensor k;  // out [T, Hkv, D] KV dtype, rotated
  Tensor v;  // out [T, Hkv, D] KV dtype
};
void rope_stage(const Stream& stream, const RopeStage& args);

}  // namespace batchmax::kernels
