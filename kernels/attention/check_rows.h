// What every op of this folder demands of its KV view and rows, checked before a kernel starts.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// Supported head_dim and KV dtype; 1..8 query heads to a KV head; tables are there.
inline void check_view(const KvView& kv, int32_t layer, int64_t query_heads, int64_t head_dim) {
  CHECK(head_dim == 64 || head_dim == 96 || head_dim == 128);
  CHECK_EQ(kv.head_dim, head_dim);
  CHECK(kv.dtype == DType::bf16 || kv.dtype == DType::f32);
  CHECK_GE(kv.kv_heads, 1);
  CHECK_EQ(query_heads % kv.kv_heads, 0);
  CHECK_LE(query_heads / kv.kv_heads, 8);
  CHECK_GE(layer, 0);
  CHECK_LT(layer, kv.layers);
}

// Tokens of `row` lie in [0, tokens) and `slots` fit its page table.
inline void check_row(const KvView& kv, const Row& row, int32_t slots, int64_t tokens) {
  CHECK_GE(row.token_begin, 0);
  CHECK_GE(row.token_count, 1);
  CHECK_LE(row.token_begin + row.token_count, tokens);
  CHECK_GE(slots, 0);
  CHECK_LE((slots + kPageSlots - 1) / kPageSlots, kv.table_stride);
}

}  // namespace batchmax::kernels
