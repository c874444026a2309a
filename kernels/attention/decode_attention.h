// Attention of one query per sequence over all its resident slots, its own token's slot included (it has been
// stored already). Each K and V byte is read once. Two variants: the second also adds the probabilities to
// mass; its out is the same, bit for bit. A row's result depends on its own query and slots alone, never on
// the rows beside it. cuda: launches depend on the number of rows and the KV view, not on what the rows hold,
// and can be captured.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// The new token has taken a free slot, or overwritten a victim.
BATCHMAX_HOST_DEVICE inline int32_t decode_slots(const Row& row) {
  return row.resident + (row.queue_index < 0 ? 1 : 0);
}

struct DecodeAttention {
  Tensor q;   // [T, Hq, D] bf16 or fp32; row r reads token row.token_begin
  KvView kv;  // valid slots of row r: decode_slots(row)
  int32_t layer = 0;
  Rows rows;         // token_count == 1; sequence < 0: padding, skipped, nothing is written for it
  float scale = 0;   // > 0
  Tensor out;        // [T, Hq, D] of q's dtype; only the rows' tokens are written
  Tensor workspace;  // u8, decode_workspace_bytes() of it; split-KV partial results
};
// Any number of slots.
void decode_attention(const Stream& stream, const DecodeAttention& args);

// Also mass[j] += Σ_g p_j for every slot but the own one (pos == row.position).
void decode_attention_mass(const Stream& stream, const DecodeAttention& args);

// Enough for `rows` rows of `query_heads` heads of `head_dim`, whatever their lengths.
size_t decode_workspace_bytes(const Stream& stream, int64_t rows, int64_t query_heads, int64_t head_dim);

}  // namespace batchmax::kernels
