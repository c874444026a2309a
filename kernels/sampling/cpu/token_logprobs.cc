// A thread per row: a pass for the highest logit, one for the sum, one for the rank, one for the best few,
// where most logits fail the comparison with the worst of those.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/sampling/backends.h"
#include "kernels/sampling/cpu/candidates.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Distribution {
  float highest;
  double log_sum;
  float logprob(float logit) const {
    if (!(logit > kMinusInfinity)) return kMinusInfinity;
    const double above = logit == highest ? 0 : static_cast<double>(logit) - static_cast<double>(highest);
    return static_cast<float>(above - log_sum);
  }
};

float clean(float logit) { return logit > kMinusInfinity ? logit : kMinusInfinity; }  // no NaN

int32_t rank_of(int32_t target, const float* logits, int64_t n) {
  const float own = clean(logits[target]);
  int32_t before = 0;
  for (int64_t id = 0; id < target; ++id) before += clean(logits[id]) >= own ? 1 : 0;
  for (int64_t id = target + 1; id < n; ++id) before += logits[id] > own ? 1 : 0;
  return before + 1;
}

// The first `wanted` of the order, best first.
int32_t best_of(int32_t wanted, const float* logits, int64_t n, Candidate* best) {
  int32_t held = 0;
  for (int64_t id = 0; id < n; ++id) {
    const Candidate candidate{clean(logits[id]), static_cast<int32_t>(id)};
    if (held == wanted && !(candidate < best[held - 1])) continue;
    if (held < wanted) ++held;
    int32_t at = held - 1;
    for (; at > 0 && candidate < best[at - 1]; --at) best[at] = best[at - 1];
    best[at] = candidate;
  }
  return held;
}

void fill(Candidates& candidates, const LogprobRow& row, const int32_t* ids, const float* logits, int64_t n,
          TokenLogprob& result) {
  Distribution distribution{candidates.highest(logits, n), 0};
  if (distribution.highest > kMinusInfinity)
    distribution.log_sum = std::log(candidates.weight_sum(logits, n, 1, distribution.highest));
  result.id = row.target < 0 ? ids[row.sample] : row.target;
  result.logprob = distribution.logprob(logits[result.id]);
  result.rank = rank_of(result.id, logits, n);
  Candidate best[kMaxTopLogprobs];
  result.top = row.top == 0 ? 0 : best_of(row.top, logits, n, best);
  for (int32_t i = 0; i < result.top; ++i) {
    result.top_ids[i] = best[i].id;
    result.top_logprobs[i] = distribution.logprob(best[i].logit);
  }
}

}  // namespace

void token_logprobs(const Stream&, const Tensor& logits, const LogprobRow* rows_data, const Tensor& ids,
                    const Tensor& results) {
  const int64_t rows = logits.dim(0);
  const int64_t vocabulary = logits.dim(1);
  auto* filled = reinterpret_cast<TokenLogprob*>(results.as<uint8_t>());
#pragma omp parallel if (rows > 1)
  {
    Candidates candidates(best_isa());
#pragma omp for schedule(dynamic)
    for (int64_t r = 0; r < rows; ++r) {
      fill(candidates, rows_data[r], ids.as<int32_t>(), logits.as<float>() + r * vocabulary, vocabulary,
           filled[r]);
    }
  }
}

}  // namespace batchmax::kernels::cpu
