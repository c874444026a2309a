// Attention of one query in double precision, straight from the formula.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace batchmax::testing {

struct ReferenceAttention {
  std::vector<double> out;            // [head_dim]
  std::vector<double> probabilities;  // one per key
  double lse = 0;                     // ln Σ exp(q·k · scale)
};

// `keys` and `values` point to rows of head_dim floats; at least one.
inline ReferenceAttention reference_attention(const float* q, const std::vector<const float*>& keys,
                                              const std::vector<const float*>& values, int head_dim,
                                              double scale) {
  std::vector<double> scores;
  for (const float* key : keys) {
    double score = 0;
    for (int d = 0; d < head_dim; ++d) score += static_cast<double>(q[d]) * static_cast<double>(key[d]);
    scores.push_back(score * scale);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - top);
  ReferenceAttention result;
  result.lse = top + std::log(sum);
  result.out.assign(static_cast<size_t>(head_dim), 0.0);
  for (size_t j = 0; j < keys.size(); ++j) {
    result.probabilities.push_back(std::exp(scores[j] - result.lse));
    for (int d = 0; d < head_dim; ++d) {
      result.out[static_cast<size_t>(d)] += result.probabilities[j] * static_cast<double>(values[j][d]);
    }
  }
  return result;
}

}  // namespace batchmax::testing
