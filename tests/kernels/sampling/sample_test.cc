#include "kernels/sampling/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class SampleTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(SampleTest);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The contract word by word, in double: sorts everything. `slack`: how far, as a share of the weights' sum,
// the nearest decision was from falling otherwise; fp32 weights may differ where it is tiny.
struct Drawn {
  int32_t id;
  double slack;
};
Drawn reference(const SampleRow& row, const float* logits, int32_t n) {
  std::vector<int32_t> order;
  for (int32_t id = 0; id < n; ++id) {
    if (logits[id] > -kInfinity) order.push_back(id);
  }
  if (order.empty()) return {0, 1};
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (row.temperature == 0) return {order.front(), 1};
  const auto weight = [&](int32_t id) {
    const float highest = logits[order.front()];
    if (logits[id] == highest) return 1.0;
    return std::exp(static_cast<double>(logits[id] - highest) / static_cast<double>(row.temperature));
  };
  const auto sum_of = [&](const std::vector<int32_t>& ids) {
    double sum = 0;
    for (const int32_t id : ids) sum += weight(id);
    return sum;
  };
  double slack = 1;
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < order.size())
    order.resize(static_cast<size_t>(row.top_k));
  if (row.top_p < 1) {
    const double all = sum_of(order);
    double reached = 0;
    size_t kept = 0;
    while (kept < order.size() && reached < static_cast<double>(row.top_p) * all)
      reached += weight(order[kept++]);
    const double before = reached - weight(order[kept - 1]);
    slack = std::min({slack, reached / all - static_cast<double>(row.top_p),
                      static_cast<double>(row.top_p) - before / all});
    order.resize(kept);
  }
  std::vector<int32_t> survivors;
  for (const int32_t id : order) {
    if (weight(id) >= static_cast<double>(row.min_p)) survivors.push_back(id);
    if (row.min_p > 0) slack = std::min(slack, std::abs(weight(id) - static_cast<double>(row.min_p)));
  }
  std::sort(survivors.begin(), survivors.end());
  const double sum = sum_of(survivors);
  const double target = static_cast<double>(sampling_uniform(row.seed, row.choice, row.position)) * sum;
  double running = 0;
  for (const int32_t id : survivors) {
    const double before = running;
    running += weight(id);
    if (running > target) return {id, std::min({slack, (running - target) / sum, (target - before) / sum})};
  }
  return {survivors.back(), 0};
}

SampleRow greedy(int32_t sequence) {
  SampleRow row{};
  row.top_p = 1;
  row.sequence = sequence;
  return row;
}

struct Result {
  std::vector<int32_t> ids, last_token;
};
Result run(const Stream& stream, const std::vector<float>& logits, int64_t vocabulary,
           const std::vector<SampleRow>& rows, int64_t sequences) {
  const auto count = static_cast<int64_t>(rows.size());
  const Values<SampleRow> values(stream, rows);
  const Array logits_array(stream, logits, {count, vocabulary});
  const Array ids(stream, std::vector<int32_t>(rows.size(), -5), {count});
  const Array last(stream, std::vector<int32_t>(static_cast<size_t>(sequences), -9), {sequences});
  sample(stream, logits_array.tensor(), values.host(), values.data(), ids.tensor(), last.tensor());
  return {ids.read<int32_t>(stream), last.read<int32_t>(stream)};
}

// Draws for every row; those too close to call may differ, and there must be few of them.
void check(const Stream& stream, const std::vector<float>& logits, int32_t vocabulary,
           const std::vector<SampleRow>& rows, const std::string& what) {
  const Result result = run(stream, logits, vocabulary, rows, static_cast<int64_t>(rows.size()));
  int close_calls = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const Drawn expected =
        reference(rows[r], logits.data() + r * static_cast<size_t>(vocabulary), vocabulary);
    EXPECT_EQ(result.last_token[static_cast<size_t>(rows[r].sequence)], result.ids[r]);
    if (expected.slack < 2e-6 && result.ids[r] != expected.id) {
      ++close_calls;
      continue;
    }
    ASSERT_EQ(result.ids[r], expected.id)
        << what << ": row " << r << ", slack " << expected.slack << ", temperature " << rows[r].temperature
        << ", top_k " << rows[r].top_k << ", top_p " << rows[r].top_p << ", min_p " << rows[r].min_p;
  }
  EXPECT_LE(close_calls, 1 + static_cast<int>(rows.size()) / 20) << what;
}

std::vector<SampleRow> random_rows(std::mt19937& random, size_t count) {
  const auto one_of = [&](const std::vector<float>& choices) { return choices[random() % choices.size()]; };
  std::vector<SampleRow> rows;
  for (size_t r = 0; r < count; ++r) {
    SampleRow row{};
    row.seed = static_cast<uint64_t>(random()) << 32 | random();
    row.choice = static_cast<int32_t>(random() % 4);
    row.position = static_cast<int32_t>(random() % 5000);
    row.temperature = one_of({0, 0.3F, 0.7F, 1.0F, 1.5F});
    row.top_p = one_of({1, 1, 0.95F, 0.5F, 0.01F});
    row.min_p = one_of({0, 0, 0.05F, 1});
    row.top_k = static_cast<int32_t>(one_of({0, 0, 1, 5, 50, 1000, 3000}));
    row.sequence = static_cast<int32_t>(count - 1 - r);
    rows.push_back(row);
  }
  return rows;
}

TEST_P(SampleTest, DrawsWhatTheContractSays) {
  std::mt19937 random(21);
  for (const int32_t vocabulary : {1, 3, 64, 1001, 5000, 32000}) {
    for (const float scale : {0.5F, 3.0F, 60.0F}) {
      const size_t count = vocabulary > 5000 ? 40 : 150;
      const auto logits = random_floats(random, count * static_cast<size_t>(vocabulary), DType::f32, scale);
      check(stream_, logits, vocabulary, random_rows(random, count),
            "V " + std::to_string(vocabulary) + " scale " + std::to_string(scale));
    }
  }
}

TEST_P(SampleTest, TheLargestVocabulary) {
  std::mt19937 random(22);
  const int32_t vocabulary = 262144;
  const auto logits = random_floats(random, 12 * static_cast<size_t>(vocabulary), DType::f32, 2.0F);
  check(stream_, logits, vocabulary, random_rows(random, 12), "V 262144");
}

// Logits in bf16 steps: many are equal, and cuts fall between equal ones.
TEST_P(SampleTest, EqualLogitsAreOrderedById) {
  std::mt19937 random(23);
  const int32_t vocabulary = 3000;
  std::vector<float> logits;
  for (int i = 0; i < 100 * vocabulary; ++i) logits.push_back(static_cast<float>(random() % 8) * 0.5F - 1.5F);
  for (size_t i = 0; i < logits.size(); i += 7) logits[i] = -logits[i];  // zeros of both signs
  check(stream_, logits, vocabulary, random_rows(random, 100), "steps");
}

// More equal candidates than any list holds, so that cuts are looked for in the row itself.
TEST_P(SampleTest, AFlatRow) {
  std::mt19937 random(24);
  const int32_t vocabulary = 20000;
  const std::vector<float> logits(static_cast<size_t>(40 * vocabulary), -2.5F);
  check(stream_, logits, vocabulary, random_rows(random, 40), "flat");
}

TEST_P(SampleTest, GreedyTakesTheFirstOfTheHighest) {
  std::vector<float> logits(5 * 2000, 1.0F);
  logits[1500] = 2.0F;
  logits[1999] = 2.0F;
  logits[2000 + 77] = kInfinity;
  logits[4000 + 3] = std::nanf("");
  logits[4000 + 9] = 1.5F;
  std::fill_n(logits.begin() + 8000, 2000, -kInfinity);
  std::vector<SampleRow> rows;
  for (int32_t r = 0; r < 5; ++r) rows.push_back(greedy(r));
  EXPECT_EQ(run(stream_, logits, 2000, rows, 5).ids, (std::vector<int32_t>{1500, 77, 9, 0, 0}));
}

TEST_P(SampleTest, OddLogitsWithATemperature) {
  const int32_t vocabulary = 70;
  std::vector<float> logits(4 * 70, -kInfinity);
  std::fill_n(logits.begin(), 70, std::nanf(""));  // row 0: nothing but NaN
  logits[70 + 69] = -3e38F;                        // row 1: one candidate
  logits[140 + 5] = kInfinity;                     // row 2: two at +inf, the rest weigh nothing
  logits[140 + 40] = kInfinity;
  logits[140 + 41] = 7.0F;
  logits[210 + 8] = 1.0F;  // row 3: fewer candidates than top_k
  logits[210 + 9] = std::nanf("");
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<SampleRow> rows;
    for (int32_t r = 0; r < 4; ++r) {
      rows.push_back(greedy(r));
      rows.back().seed = seed;
      rows.back().temperature = 0.8F;
      rows.back().top_k = seed % 2 == 0 ? 0 : 3;
      rows.back().top_p = seed % 3 == 0 ? 1.0F : 0.9F;
    }
    const std::vector<int32_t> ids = run(stream_, logits, vocabulary, rows, 4).ids;
    EXPECT_EQ(ids[0], 0);
    EXPECT_EQ(ids[1], 69);
    EXPECT_TRUE(ids[2] == 5 || ids[2] == 40) << ids[2];
    EXPECT_EQ(ids[3], 8);
  }
}

TEST_P(SampleTest, SkipsPadding) {
  std::vector<float> logits(3 * 10, 0.0F);
  logits[4] = logits[10 + 5] = logits[20 + 6] = 1.0F;
  const std::vector<SampleRow> rows{greedy(2), greedy(kNoSequence), greedy(0)};
  const Result result = run(stream_, logits, 10, rows, 4);
  EXPECT_EQ(result.ids, (std::vector<int32_t>{4, -5, 6}));
  EXPECT_EQ(result.last_token, (std::vector<int32_t>{6, -9, 4, -9}));
}

}  // namespace
}  // namespace batchmax::kernels::testing
