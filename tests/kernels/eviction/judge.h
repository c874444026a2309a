// Whether a selection is the one that scores ask for. Of values that both sides compute exactly it must be
// that very set; of sums in fp32 a candidate may differ where its score lies within 1e-5 relative of the cut.
#pragma once

#include <gtest/gtest.h>

#include <set>

#include "tests/kernels/eviction/scene.h"

namespace batchmax::kernels::testing {

struct Judged {
  std::vector<double> scores;  // of one (layer, row, head)
  std::vector<int32_t> positions;
  std::vector<int32_t> order;  // the unprotected candidates, first victim first
};

// From the values of a Scene: by age for `average`, rounded as the contract says; NaN lowest, of equal scores
// the younger first.
inline Judged judge(const Scene& scene, const Row& row, int32_t layer, int32_t head,
                    const std::vector<double>& values) {
  Judged judged;
  for (int32_t i = 0; i < scene.count(row); ++i) {
    const int32_t position = scene.position(row, layer, head, i);
    const double value = values[static_cast<size_t>(i)];
    const int32_t age = last_position(row) - position;
    const bool averaged = scene.shape.score == Score::average;
    judged.positions.push_back(position);
    judged.scores.push_back(
        averaged ? static_cast<double>(static_cast<float>(value) / static_cast<float>(age)) : value);
    if (!is_protected(row, position)) judged.order.push_back(i);
  }
  std::sort(judged.order.begin(), judged.order.end(), [&](int32_t a, int32_t b) {
    const double x = judged.scores[static_cast<size_t>(a)];
    const double y = judged.scores[static_cast<size_t>(b)];
    if (std::isnan(x) != std::isnan(y)) return std::isnan(x);
    if (!std::isnan(x) && x != y) return x < y;
    return judged.positions[static_cast<size_t>(a)] > judged.positions[static_cast<size_t>(b)];
  });
  return judged;
}

inline bool computed_exactly(Score score) { return score != Score::key_distance && score != Score::key_diff; }

// victims: candidate indices.
inline void expect_victims(const Judged& judged, const std::set<int32_t>& victims, bool exact,
                           const std::string& what) {
  ASSERT_LE(victims.size(), judged.order.size()) << what;
  ASSERT_FALSE(victims.empty()) << what;
  const std::set<int32_t> expected(judged.order.begin(),
                                   judged.order.begin() + static_cast<ptrdiff_t>(victims.size()));
  const double cut = judged.scores[static_cast<size_t>(judged.order[victims.size() - 1])];
  const double tolerance = exact ? -1.0 : 1e-5 * std::abs(cut);
  std::vector<int32_t> differ;
  std::set_symmetric_difference(victims.begin(), victims.end(), expected.begin(), expected.end(),
                                std::back_inserter(differ));
  for (const int32_t i : differ) {
    const auto at = static_cast<size_t>(i);
    ASSERT_NE(std::find(judged.order.begin(), judged.order.end(), i), judged.order.end())
        << what << ": candidate " << i << " is protected";
    ASSERT_LE(std::abs(judged.scores[at] - cut), tolerance)
        << what << ": candidate " << i << ", position " << judged.positions[at] << ", score "
        << judged.scores[at] << ", cut " << cut;
  }
}

}  // namespace batchmax::kernels::testing
