// The ops of this folder per backend; shapes and dtypes have been checked by the dispatch.
#pragma once

#include "kernels/eviction/score.h"
#include "kernels/eviction/select.h"
#include "kernels/eviction/slot_write.h"

namespace batchmax::kernels {

namespace cpu {
size_t selection_workspace_bytes(const Stream& stream, int64_t layers, int64_t rows, int64_t kv_heads,
                                 int64_t pitch);
void score_layer(const Stream& stream, const Candidates& candidates, const Tensor& workspace,
                 const Tensor& out);
void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest);
void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues);
void append_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                  const NewTokens& tokens, const Tensor& queues);
void replace_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const NewTokens& tokens, const Tensor& dest);
void compact_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const Tensor& dest);
}  // namespace cpu

namespace cuda {
size_t selection_workspace_bytes(const Stream& stream, int64_t layers, int64_t rows, int64_t kv_heads,
                                 int64_t pitch);
void score_layer(const Stream& stream, const Candidates& candidates, const Tensor& workspace,
                 const Tensor& out);
void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest);
void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues);
void append_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                  const NewTokens& tokens, const Tensor& queues);
void replace_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const NewTokens& tokens, const Tensor& dest);
void compact_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const Tensor& dest);
}  // namespace cuda

}  // namespace batchmax::kernels
