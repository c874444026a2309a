// A thread per row. Greedy: one pass of V floats. Otherwise two to four passes over V and a selection among
// the candidates that can still be drawn, usually a small part of them.
#include <algorithm>
#include <limits>

#include "kernels/sampling/backends.h"
#include "kernels/sampling/cpu/candidates.h"

namespace batchmax::kernels::cpu {
namespace {

int32_t sample_row(Candidates& candidates, const SampleRow& row, const float* logits, int64_t n) {
  const float highest = candidates.highest(logits, n);
  if (!(highest > -std::numeric_limits<float>::infinity())) return 0;
  if (row.temperature > 0) return candidates.draw(row, logits, n, highest);
  return static_cast<int32_t>(std::find(logits, logits + n, highest) - logits);
}

}  // namespace

void sample(const Stream&, const Tensor& logits, const SampleRow*, const SampleRow* rows_data,
            const Tensor& ids, const Tensor& last_token) {
  const int64_t rows = logits.dim(0);
  const int64_t vocabulary = logits.dim(1);
#pragma omp parallel if (rows > 1)
  {
    Candidates candidates(best_isa());
#pragma omp for schedule(dynamic)
    for (int64_t r = 0; r < rows; ++r) {
      const SampleRow& row = rows_data[r];
      if (row.sequence == kNoSequence) continue;
      const int32_t id = sample_row(candidates, row, logits.as<float>() + r * vocabulary, vocabulary);
      ids.as<int32_t>()[r] = id;
      last_token.as<int32_t>()[row.sequence] = id;
    }
  }
}

}  // namespace batchmax::kernels::cpu
