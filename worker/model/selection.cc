#include "worker/model/selection.h"

#include <algorithm>
#include <array>

#include "kernels/eviction/select.h"
#include "kernels/eviction/slot_write.h"

namespace batchmax::worker {
namespace {

using kernels::Candidates;
using kernels::Pool;
using kernels::Rows;
using kernels::Selection;
using kernels::Tensor;

// The scores of rows [begin, begin + count) of [1, rows, pitch].
Tensor rows_of_scores(const Tensor& scores, int64_t begin, int64_t count) {
  const int64_t pitch = scores.dim(2);
  return Tensor(scores.as<float>() + begin * pitch, kernels::DType::f32, {1, count, pitch});
}

}  // namespace

Candidates BlockSelection::candidates(Pool pool, const Rows& rows, int32_t layer) const {
  Candidates candidates;
  candidates.pool = pool;
  candidates.score = context_.rule.score;
  candidates.kv = context_.cache->view();
  candidates.layer_begin = layer;
  candidates.rows = rows;
  candidates.k = buffers_.k;
  candidates.mass_new = buffers_.mass_new;
  candidates.rope = context_.rope;
  candidates.head_offset = context_.head_offset;
  return candidates;
}

void BlockSelection::score(const kernels::Stream& stream, int32_t layer, std::vector<Tensor>& reduce) const {
  if (!context_.rule.layer_scope) return;
  const auto score_rows = [&](Pool pool, const Rows& rows, const Tensor& scores) {
    if (rows.count == 0) return;
    kernels::score_layer(stream, candidates(pool, rows, layer), buffers_.selection_scratch, scores);
    if (context_.rule.reduces()) reduce.push_back(scores);
  };
  score_rows(Pool::block, replace_, buffers_.replace_scores);
  score_rows(Pool::tail, compact_, buffers_.compact_scores);
}

void BlockSelection::write(const kernels::Stream& stream, int32_t layer) const {
  if (replace_.count > 0) {
    Selection selection{candidates(Pool::block, replace_, layer), buffers_.replace_scores,
                        buffers_.replace_pitch, buffers_.selection_scratch};
    kernels::select_keep(stream, selection, buffers_.replace_dest);
    kernels::replace_slots(stream, context_.cache->view(), layer, replace_,
                           {buffers_.k, buffers_.v, buffers_.mass_new}, buffers_.replace_dest);
  }
  if (compact_.count > 0) compact(stream, layer);
}

void BlockSelection::compact(const kernels::Stream& stream, int32_t layer) const {
  int32_t begin = 0;
  while (begin < compact_.count) {
    int32_t count = 0;
    int64_t tail = 0;
    for (; begin + count < compact_.count; ++count) {
      const kernels::Row& row = compact_.host[begin + count];
      const int64_t surplus = row.resident + row.token_count - row.keep;
      if (tail + surplus > buffers_.compact_dest.dim(0)) break;
      tail += surplus;
    }
    CHECK_GE(count, 1);
    const Rows rows = compact_.sub(begin, count);
    Selection selection{candidates(Pool::tail, rows, layer), Tensor(), buffers_.compact_pitch,
                        buffers_.selection_scratch};
    if (context_.rule.layer_scope)
      selection.layer_scores = rows_of_scores(buffers_.compact_scores, begin, count);
    kernels::select_keep(stream, selection, buffers_.compact_dest);
    kernels::compact_slots(stream, context_.cache->view(), layer, rows, buffers_.compact_dest);
    begin += count;
  }
}

void select_victims(const kernels::Stream& stream, const SelectionContext& context, const LocalShape& shape,
                    const Rows& rows, kernels::Arena& arena, comm::TensorGroup& group, StepTimer& timer) {
  const StepTimer::Span whole = timer.measure(StepPart::selection);
  int32_t begin = 0;
  while (begin < rows.count) {
    int64_t widest = 0;
    int32_t count = 0;
    for (; begin + count < rows.count; ++count) {
      const int64_t with_next = std::max<int64_t>(widest, rows.host[begin + count].keep);
      if (count > 0 && count + 1 > victim_rows_at_once(shape, with_next)) break;
      widest = with_next;
    }
    arena.reset();
    const VictimBuffers buffers = lay_out_victims(arena, stream, shape, context.rule.needs(), count, widest);
    Selection selection;
    selection.candidates.pool = Pool::slots;
    selection.candidates.score = context.rule.score;
    selection.candidates.kv = context.cache->view();
    selection.candidates.layer_count = shape.layers;
    selection.candidates.rows = rows.sub(begin, count);
    selection.candidates.rope = context.rope;
    selection.candidates.head_offset = context.head_offset;
    selection.layer_scores = buffers.scores;
    selection.pitch = buffers.pitch;
    selection.workspace = buffers.scratch;
    if (context.rule.layer_scope) {
      kernels::score_layer(stream, selection.candidates, buffers.scratch, buffers.scores);
    }
    if (context.rule.reduces() && group.size() > 1) {
      const StepTimer::Span reduction = timer.measure(StepPart::all_reduce);
      group.all_reduce(stream, std::array{buffers.scores});
    }
    kernels::select_victims(stream, selection, context.cache->queues());
    begin += count;
  }
}

}  // namespace batchmax::worker
