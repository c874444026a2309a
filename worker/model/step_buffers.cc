#include "worker/model/step_buffers.h"

#include <algorithm>

#include "kernels/attention/decode_attention.h"
#include "kernels/eviction/select.h"

namespace batchmax::worker {
namespace {

using kernels::DType;

// Slots that compaction moves in one pass: bounds its table of destinations, not what a step may hold.
constexpr int64_t kTailAtOnce = 16 * 1024;
// Scores of a pass over all layers, in elements: 4 MB, or one row where that is more.
constexpr int64_t kVictimScoresAtOnce = 1 << 20;

// Logits of a pass over tokens whose log probabilities are wanted, in elements: 16 MB, or one row.
constexpr int64_t kScoredLogitsAtOnce = 1 << 22;

int64_t rounded(int64_t count) {
  constexpr int64_t kAlign = 64;
  return (count + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

StepSize size_of_step(const StepPlan& plan) {
  StepSize size;
  size.tokens = plan.tokens();
  size.samples = static_cast<int64_t>(plan.samples.size());
  size.logprobs = static_cast<int64_t>(plan.logprobs.size());
  size.decode_rows = plan.decode_rows();
  size.replace_rows = plan.count_of(RowKind::replace);
  size.compact_rows = plan.count_of(RowKind::compact);
  const auto widest = [&](RowKind kind, auto width) {
    int64_t most = 0;
    for (int32_t i = 0; i < plan.count_of(kind); ++i) {
      most = std::max<int64_t>(most, width(plan.rows[static_cast<size_t>(plan.begin_of(kind) + i)]));
    }
    return most;
  };
  const auto candidates = [](const kernels::Row& row) { return row.resident + row.token_count; };
  size.replace_pitch = rounded(widest(RowKind::replace, candidates));
  size.compact_pitch = rounded(widest(RowKind::compact, candidates));
  const auto surplus = [&](const kernels::Row& row) { return candidates(row) - row.keep; };
  int64_t tail = 0;
  for (int32_t i = 0; i < plan.count_of(RowKind::compact); ++i) {
    tail += surplus(plan.rows[static_cast<size_t>(plan.begin_of(RowKind::compact) + i)]);
  }
  size.tail = std::min(tail, std::max(widest(RowKind::compact, surplus), kTailAtOnce));
  return size;
}

StepSize largest_step(const StepLimits& limits) {
  StepSize size;
  size.tokens = size.logprobs = limits.tokens;
  size.samples = size.decode_rows = size.replace_rows = size.compact_rows = limits.sequences;
  size.replace_pitch = size.compact_pitch = rounded(limits.length);
  size.tail = std::max<int64_t>(limits.length, kTailAtOnce);
  return size;
}

StepBuffers lay_out(kernels::Arena& arena, const kernels::Stream& stream, const LocalShape& shape,
                    const SelectionNeeds& needs, const StepSize& size) {
  const int64_t T = size.tokens;
  const int64_t R = size.samples;
  const int64_t d = shape.hidden;
  StepBuffers buffers;
  buffers.residual = arena.take(shape.compute, {T, d});
  buffers.hidden = arena.take(shape.compute, {T, d});
  buffers.delta = arena.take(shape.compute, {T, d});
  buffers.qkv = arena.take(shape.compute, {T, (shape.heads + 2 * shape.kv_heads) * shape.head_dim});
  buffers.q = arena.take(shape.compute, {T, shape.heads, shape.head_dim});
  buffers.k = arena.take(shape.kv, {T, shape.kv_heads, shape.head_dim});
  buffers.v = arena.take(shape.kv, {T, shape.kv_heads, shape.head_dim});
  buffers.attention = arena.take(shape.compute, {T, shape.heads, shape.head_dim});
  buffers.lse = arena.take(DType::f32, {T, shape.heads});
  if (needs.mass) buffers.mass_new = arena.take(DType::f32, {T, shape.kv_heads});
  buffers.gate_up = arena.take(shape.compute, {T, 2 * shape.intermediate});
  buffers.activated = arena.take(shape.compute, {T, shape.intermediate});
  buffers.last = arena.take(shape.compute, {R, d});
  buffers.last_delta = arena.take(shape.compute, {R, d});
  if (shape.output_sharded()) buffers.part = arena.take(DType::f32, {R, shape.output_rows});
  buffers.logits = arena.take(DType::f32, {R, shape.vocab});
  if (size.logprobs > 0) {
    const int64_t n = std::min(size.logprobs, logprob_rows_at_once(shape));
    buffers.scored_last = arena.take(shape.compute, {n, d});
    buffers.scored_delta = arena.take(shape.compute, {n, d});
    if (shape.output_sharded()) buffers.scored_part = arena.take(DType::f32, {n, shape.output_rows});
    buffers.scored_logits = arena.take(DType::f32, {n, shape.vocab});
  }

  const auto bytes = [&](size_t count) { return arena.take(DType::u8, {static_cast<int64_t>(count)}); };
  if (size.decode_rows > 0) {
    buffers.decode_scratch =
        bytes(kernels::decode_workspace_bytes(stream, size.decode_rows, shape.heads, shape.head_dim));
  }
  size_t scratch = 0;
  const auto selection = [&](int64_t rows, int64_t pitch) {
    if (rows == 0) return;
    scratch = std::max(scratch, kernels::selection_workspace_bytes(stream, 1, rows, shape.kv_heads, pitch));
  };
  selection(size.replace_rows, size.replace_pitch);
  selection(size.compact_rows, size.compact_pitch);
  buffers.selection_scratch = bytes(scratch);
  buffers.replace_pitch = size.replace_pitch;
  buffers.compact_pitch = size.compact_pitch;
  if (needs.layer_scores) {
    buffers.replace_scores = arena.take(DType::f32, {1, size.replace_rows, size.replace_pitch});
    buffers.compact_scores = arena.take(DType::f32, {1, size.compact_rows, size.compact_pitch});
  }
  if (size.replace_rows > 0) buffers.replace_dest = arena.take(DType::i32, {T, shape.kv_heads});
  if (size.compact_rows > 0) buffers.compact_dest = arena.take(DType::i32, {size.tail, shape.kv_heads});
  return buffers;
}

int64_t logprob_rows_at_once(const LocalShape& shape) {
  return std::max<int64_t>(1, kScoredLogitsAtOnce / shape.vocab);
}

int64_t victim_rows_at_once(const LocalShape& shape, int64_t pitch) {
  return std::max<int64_t>(1, kVictimScoresAtOnce / (shape.layers * rounded(pitch)));
}

VictimBuffers lay_out_victims(kernels::Arena& arena, const kernels::Stream& stream, const LocalShape& shape,
                              const SelectionNeeds& needs, int64_t rows, int64_t pitch) {
  VictimBuffers buffers;
  buffers.pitch = rounded(pitch);
  if (needs.layer_scores) buffers.scores = arena.take(DType::f32, {shape.layers, rows, buffers.pitch});
  const size_t scratch =
      kernels::selection_workspace_bytes(stream, shape.layers, rows, shape.kv_heads, buffers.pitch);
  buffers.scratch = arena.take(DType::u8, {static_cast<int64_t>(scratch)});
  return buffers;
}

size_t step_bytes(const kernels::Stream& stream, const LocalShape& shape, const SelectionNeeds& needs,
                  const StepLimits& limits) {
  kernels::Arena step;
  lay_out(step, stream, shape, needs, largest_step(limits));
  size_t most = step.used();
  // One row of the greatest length, and as many candidates as a pass may have, as short rows.
  const auto victims = [&](int64_t rows, int64_t pitch) {
    kernels::Arena arena;
    lay_out_victims(arena, stream, shape, needs, rows, pitch);
    most = std::max(most, arena.used());
  };
  const int64_t candidates = std::max(kVictimScoresAtOnce / shape.layers, rounded(limits.length));
  victims(1, limits.length);
  victims(rounded(candidates) / rounded(1), 1);
  return most;
}

}  // namespace batchmax::worker
