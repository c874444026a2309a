// Between the tensors of a step and the tiles: which queries a block holds, where its keys lie, what it gives
// back.
#pragma once

#include <cstdint>

#include "kernels/attention/cpu/tiles.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels::cpu {

inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2 = 0.693147181F;

// Queries of the tokens [first_token, first_token + tokens) of the step with all query heads of a group:
// query i is token first_token + i / group, query head first_head + i % group.
struct QuerySpan {
  int64_t first_token;
  int32_t tokens;
  int32_t first_head;
  int32_t group;
  int32_t count() const { return tokens * group; }
};

// Copies the span's queries of q [T, Hq, D] into the block, as `tiles` wants them, and sets count, head_dim
// and scale.
void load_queries(const Tensor& q, const QuerySpan& span, float scale, const Tiles& tiles, QueryBlock& block);

// out[token][head] = block.out / sum, in out's dtype.
void store_out(const QueryBlock& block, const QuerySpan& span, const Tensor& out);

// The page of a sequence that begins with `first_slot`, a multiple of 64; the sequence ends before slot
// `slots`.
KeyTile slot_tile(const KvView& kv, int32_t layer, int32_t sequence, int32_t head, int32_t first_slot,
                  int32_t slots);
// The tokens [first_token, first_token + count) of staging k and v [T, Hkv, D]; v may be absent.
KeyTile staging_tile(const Tensor& k, const Tensor& v, int64_t first_token, int32_t head, int32_t count);

}  // namespace batchmax::kernels::cpu
