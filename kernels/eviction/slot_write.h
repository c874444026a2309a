// Writes into the KV cache: K, V, pos and mass of new tokens into free slots or over victims. No other row
// moves.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

struct NewTokens {
  Tensor k;         // [T, Hkv, D] staging, KV dtype
  Tensor v;         // [T, Hkv, D]
  Tensor mass_new;  // [T, Hkv] fp32; absent: mass 0
};

// Token i of a row goes to slot row.resident + i, or, where row.queue_index >= 0 (decode), to
// queues[row.sequence][layer][head][row.queue_index]. queues i32 [max_sequences, layers, Hkv, decode_block].
void append_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                  const NewTokens& tokens, const Tensor& queues);

// Token i of a row goes to slot dest[row.token_begin + i][head]; -1: dropped. dest as select_keep gives it
// for Pool::block.
void replace_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const NewTokens& tokens, const Tensor& dest);

// Slot row.keep + i, K, V, pos and mass, moves to slot dest[first_of_row + i][head]; -1: dropped. The row
// holds row.resident + row.token_count slots before. dest as select_keep gives it for Pool::tail.
void compact_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const Tensor& dest);

}  // namespace batchmax::kernels
