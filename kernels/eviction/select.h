// Exact selection by score: the same set on every rank and backend given equal scores.
// Total order: score, NaN lowest; equal scores: the older position is kept. Protected candidates are never
// victims (is_protected in kernels/core/kv_view.h).
#pragma once

#include "kernels/eviction/score.h"

namespace batchmax::kernels {

// Scratch for scores that do not fit where a kernel keeps them: fp32 [layers, rows, heads, pitch].
size_t selection_workspace_bytes(const Stream& stream, int64_t layers, int64_t rows, int64_t kv_heads,
                                 int64_t pitch);

struct Selection {
  Candidates candidates;
  Tensor
      layer_scores;   // scope layer: [layer_count, rows, pitch] fp32, reduced over ranks; absent: scope head
  int64_t pitch = 0;  // >= the largest candidate count
  Tensor workspace;   // u8, selection_workspace_bytes()
};

// Prefill. Keeps row.keep of the candidates: all protected ones and the best others. Surviving new tokens, in
// position order, take the victims' slots in ascending order, then the free slots from row.resident on.
// Pool::block: the new tokens are staging rows [row.token_begin, + token_count) against slots [0,
// row.resident).
//   dest i32 [T, Hkv], entry (token, head).
// Pool::tail (mode decode, after the prompt): the slots [row.keep, count) are the new ones, [0, row.keep) the
//   residents. dest i32 [N, Hkv], rows packed one after the other: entry (first_of_row + i, head) for slot
//   row.keep + i.
// Value: destination slot, or -1: dropped.
void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest);

// Pool::slots, after the step, all layers at once: the row.victims lowest unprotected candidates, lowest
// first. queues i32 [max_sequences, layers, Hkv, decode_block]: entries [row.sequence][layer][head][0,
// row.victims) are written with slot numbers. Rows with victims == 0 are skipped.
void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues);

}  // namespace batchmax::kernels
