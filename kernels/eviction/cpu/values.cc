#include "kernels/eviction/cpu/values.h"

#include <array>

#include "kernels/eviction/check_candidates.h"
#include "kernels/eviction/cpu/candidate_runs.h"
#include "kernels/eviction/cpu/key_runs.h"
#include "kernels/eviction/order.h"

namespace batchmax::kernels::cpu {
namespace {

using Mean = std::array<float, kMaxHeadDim>;

Rotations rotations_of(const Candidates& candidates, const Row& row) {
  const int32_t half = candidates.kv.head_dim / 2;
  const size_t table = static_cast<size_t>(row.rope_table) *
                       static_cast<size_t>(candidates.rope.max_positions) * static_cast<size_t>(half);
  return {candidates.rope.cos + table, candidates.rope.sin + table, half};
}

// Runs of 64 keys are summed in fp32, the runs in double: the mean of a hundred thousand keys stays exact to
// fp32.
void mean_key(const Candidates& candidates, int32_t layer, const Row& row, int32_t head,
              const Rotations& rotations, Mean& mean) {
  std::array<double, kMaxHeadDim> total{};
  const auto head_dim = static_cast<size_t>(candidates.kv.head_dim);
  for_each_run(candidates, layer, row, head, [&](int32_t, const Run& run) {
    Mean sum;
    sum_unrotated(best_isa(), candidates.kv.dtype, run, rotations, sum.data());
    for (size_t d = 0; d < head_dim; ++d) total[d] += static_cast<double>(sum[d]);
  });
  const double count = candidate_count(candidates.pool, row);
  for (size_t d = 0; d < head_dim; ++d) mean[d] = static_cast<float>(total[d] / count);
}

void key_distances(const Candidates& candidates, int32_t layer, const Row& row, int32_t head, float* values) {
  const Rotations rotations = rotations_of(candidates, row);
  Mean mean;
  mean_key(candidates, layer, row, head, rotations, mean);
  for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
    float* out = values + first;
    squared_distances(best_isa(), candidates.kv.dtype, run, rotations, mean.data(), out);
    for (int32_t i = 0; i < run.count; ++i) out[i] = key_distance_score(out[i]);
  });
}

void key_differences(const Candidates& candidates, int32_t layer, const Row& row, int32_t head,
                     float* values) {
  const Rotations rotations = rotations_of(candidates, row);
  Mean mean;
  mean_key(candidates, layer, row, head, rotations, mean);
  float mean_squared = 0;
  for (int32_t d = 0; d < candidates.kv.head_dim; ++d) {
    mean_squared += mean[static_cast<size_t>(d)] * mean[static_cast<size_t>(d)];
  }
  for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
    std::array<float, kPageSlots> squares;
    float* out = values + first;
    key_products(best_isa(), candidates.kv.dtype, run, rotations, mean.data(), out, squares.data());
    for (int32_t i = 0; i < run.count; ++i) {
      out[i] = key_diff_score(out[i], squares[static_cast<size_t>(i)], mean_squared);
    }
  });
}

}  // namespace

void head_values(const Candidates& candidates, int32_t layer, const Row& row, int32_t head, float* values) {
  switch (candidates.score) {
    case Score::average:
      for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
        for (int32_t i = 0; i < run.count; ++i)
          values[first + i] = run.mass[static_cast<size_t>(i) * run.mass_stride];
      });
      return;
    case Score::key_distance:
      return key_distances(candidates, layer, row, head, values);
    case Score::key_diff:
      return key_differences(candidates, layer, row, head, values);
    case Score::recency:
      for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
        for (int32_t i = 0; i < run.count; ++i) values[first + i] = static_cast<float>(run.position(i));
      });
      return;
    case Score::random:
      for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
        for (int32_t i = 0; i < run.count; ++i) {
          values[first + i] = random_score(row.seed, layer, candidates.head_offset + head, run.position(i));
        }
      });
      return;
  }
}

void head_positions(const Candidates& candidates, int32_t layer, const Row& row, int32_t head,
                    int32_t* positions) {
  for_each_run(candidates, layer, row, head, [&](int32_t first, const Run& run) {
    for (int32_t i = 0; i < run.count; ++i) positions[first + i] = run.position(i);
  });
}

}  // namespace batchmax::kernels::cpu
