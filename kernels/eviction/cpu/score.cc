// Scope layer: Σ over the KV heads of every candidate's value, heads added in ascending order whatever the
// number of threads. Reads what the score reads once or twice (values.cc), writes 4 bytes per candidate.
#include <algorithm>

#include "kernels/core/cpu/team.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/cpu/scratch.h"
#include "kernels/eviction/cpu/values.h"

namespace batchmax::kernels::cpu {

size_t selection_workspace_bytes(const Stream&, int64_t, int64_t, int64_t kv_heads, int64_t pitch) {
  return scratch_bytes(pitch) * static_cast<size_t>(std::max<int64_t>(most_threads(), kv_heads));
}

namespace {

struct LayerScores {
  Candidates candidates;
  int32_t heads;
  Tensor workspace;
  Tensor out;

  const Row& row(int32_t pair) const { return candidates.rows.data[pair % candidates.rows.count]; }
  bool pads(int32_t pair) const { return row(pair).sequence == kNoSequence; }
  float* sums(int32_t pair) const { return out.as<float>() + pair * out.dim(2); }
  float* scratch(int part) const { return scratch_of(workspace, out.dim(2), part).values; }
  void values(int32_t pair, int32_t head, float* to) const {
    head_values(candidates, candidates.layer_begin + pair / candidates.rows.count, row(pair), head, to);
  }
  void add(int32_t pair, const float* from) const {
    float* sum = sums(pair);
    for (int32_t i = 0; i < candidate_count(candidates.pool, row(pair)); ++i) sum[i] += from[i];
  }
};

}  // namespace

void score_layer(const Stream&, const Candidates& candidates, const Tensor& workspace, const Tensor& out) {
  LayerScores op{candidates, candidates.kv.kv_heads, workspace, out};
  if (!needs_reduction(candidates.score)) {
    op.heads = 1;
    op.candidates.head_offset = 0;  // `random`: the same hash on every rank
  }
  const int32_t pairs = candidates.layer_count * candidates.rows.count;
  if (pairs >= most_threads()) {  // a thread per (layer, row)
#pragma omp parallel for schedule(dynamic)
    for (int32_t pair = 0; pair < pairs; ++pair) {
      if (op.pads(pair)) continue;
      op.values(pair, 0, op.sums(pair));
      for (int32_t head = 1; head < op.heads; ++head) {
        op.values(pair, head, op.scratch(this_thread()));
        op.add(pair, op.scratch(this_thread()));
      }
    }
    return;
  }
  for (int32_t pair = 0; pair < pairs; ++pair) {  // a thread per head
    if (op.pads(pair)) continue;
#pragma omp parallel for schedule(dynamic)
    for (int32_t head = 0; head < op.heads; ++head) {
      op.values(pair, head, head == 0 ? op.sums(pair) : op.scratch(head));
    }
    for (int32_t head = 1; head < op.heads; ++head) op.add(pair, op.scratch(head));
  }
}

}  // namespace batchmax::kernels::cpu
