#include "kernels/eviction/select.h"

#include <algorithm>

#include "kernels/core/build.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/check_candidates.h"

namespace batchmax::kernels {
namespace {

void check_selection(const Stream& stream, Dims& dims, const Selection& selection) {
  const Candidates& candidates = selection.candidates;
  check_candidates(dims, candidates);
  check_pitch(candidates, selection.pitch);
  if (selection.layer_scores) {
    dims.match("layer_scores", selection.layer_scores, {"layers", "rows", "pitch"});
    dims.dtype("layer_scores", selection.layer_scores, {DType::f32});
    CHECK_EQ(dims["layers"], candidates.layer_count);
    CHECK_EQ(dims["rows"], candidates.rows.count);
    CHECK_EQ(dims["pitch"], selection.pitch);
  }
  CHECK_GE(selection.workspace.bytes(),
           selection_workspace_bytes(stream, candidates.layer_count, candidates.rows.count,
                                     candidates.kv.kv_heads, selection.pitch));
}

// Rows of `dest` that select_keep writes in Pool::tail.
int64_t tail_rows(const Rows& rows) {
  int64_t total = 0;
  for (int32_t r = 0; r < rows.count; ++r) total += tail_surplus(rows.host[r]);
  return total;
}

void check_kept(const Candidates& candidates, int64_t rows_of_dest) {
  if (candidates.pool == Pool::tail) CHECK_GE(rows_of_dest, tail_rows(candidates.rows));
  if (candidates.pool != Pool::block) return;
  for (int32_t r = 0; r < candidates.rows.count; ++r) {
    const Row& row = candidates.rows.host[r];
    if (row.sequence == kNoSequence) continue;
    CHECK_LE(row.token_begin + row.token_count, rows_of_dest);
    CHECK_GE(row.keep, row.resident);  // the slots in use never shrink: nothing would fill the gap
  }
}

}  // namespace

size_t selection_workspace_bytes(const Stream& stream, int64_t layers, int64_t rows, int64_t kv_heads,
                                 int64_t pitch) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) {
      return cuda::selection_workspace_bytes(stream, layers, rows, kv_heads, pitch);
    }
  }
  return cpu::selection_workspace_bytes(stream, layers, rows, kv_heads, pitch);
}

void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest) {
  const Candidates& candidates = selection.candidates;
  Dims dims("select_keep");
  check_selection(stream, dims, selection);
  CHECK(candidates.pool != Pool::slots);
  dims.match("dest", dest, {"N", "heads"}).dtype("dest", dest, {DType::i32});
  CHECK_EQ(dims["heads"], candidates.kv.kv_heads);
  check_kept(candidates, dims["N"]);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::select_keep(stream, selection, dest);
  }
  cpu::select_keep(stream, selection, dest);
}

void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues) {
  const Candidates& candidates = selection.candidates;
  Dims dims("select_victims");
  check_selection(stream, dims, selection);
  CHECK(candidates.pool == Pool::slots);
  dims.match("queues", queues, {"sequences", "L", "heads", "decode_block"})
      .dtype("queues", queues, {DType::i32});
  CHECK_EQ(dims["L"], candidates.kv.layers);
  CHECK_EQ(dims["heads"], candidates.kv.kv_heads);
  for (int32_t r = 0; r < candidates.rows.count; ++r) {
    const Row& row = candidates.rows.host[r];
    if (row.sequence == kNoSequence) continue;
    CHECK_LE(row.victims, dims["decode_block"]);
    CHECK_LT(row.sequence, dims["sequences"]);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::select_victims(stream, selection, queues);
  }
  cpu::select_victims(stream, selection, queues);
}

}  // namespace batchmax::kernels
