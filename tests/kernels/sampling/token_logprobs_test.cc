#include "kernels/sampling/token_logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class TokenLogprobs : public OnBackend {};
BATCHMAX_ON_BACKENDS(TokenLogprobs);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<TokenLogprob> run(const Stream& stream, const std::vector<float>& logits, int64_t vocabulary,
                              const std::vector<LogprobRow>& rows, const std::vector<int32_t>& drawn) {
  const auto count = static_cast<int64_t>(rows.size());
  const Values<LogprobRow> values(stream, rows);
  const Array given(stream, logits, {count, vocabulary});
  const Array ids(stream, drawn, {static_cast<int64_t>(drawn.size())});
  // Poisoned: alternatives beyond `top` stay unwritten and are read back with the rest.
  const size_t size = rows.size() * sizeof(TokenLogprob);
  const Array results(stream, std::vector<uint8_t>(size, 0xee), {static_cast<int64_t>(size)});
  token_logprobs(stream, given.tensor(), values.host(), values.data(), ids.tensor(), results.tensor());
  const auto bytes = results.read<uint8_t>(stream);
  std::vector<TokenLogprob> made(rows.size());
  std::memcpy(made.data(), bytes.data(), bytes.size());
  return made;
}

// Sorts everything, sums in double.
void check(const TokenLogprob& made, const LogprobRow& row, int32_t target, const float* logits, int32_t n) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int32_t id) { return logits[id] > -kInfinity ? logits[id] : -kInfinity; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return value(a) > value(b); });
  const auto highest = static_cast<double>(value(order.front()));
  double sum = 0;
  for (int32_t id = 0; id < n; ++id) sum += std::exp(static_cast<double>(value(id)) - highest);
  const auto expect_logprob = [&](float logprob, int32_t id) {
    const double expected = static_cast<double>(value(id)) - highest - std::log(sum);
    if (std::isinf(expected)) {
      ASSERT_EQ(static_cast<double>(logprob), expected);
    } else {
      ASSERT_NEAR(static_cast<double>(logprob), expected, 2e-5 + 1e-6 * std::abs(expected));
    }
  };
  ASSERT_EQ(made.id, target);
  expect_logprob(made.logprob, target);
  ASSERT_EQ(made.rank, 1 + (std::find(order.begin(), order.end(), target) - order.begin()));
  ASSERT_EQ(made.top, std::min(row.top, n));
  for (int32_t i = 0; i < made.top; ++i) {
    ASSERT_EQ(made.top_ids[i], order[static_cast<size_t>(i)]) << "place " << i;
    expect_logprob(made.top_logprobs[i], made.top_ids[i]);
  }
  if (made.rank > made.top) return;
  ASSERT_EQ(made.logprob, made.top_logprobs[made.rank - 1]);
}

TEST_P(TokenLogprobs, AreThoseOfTheSoftmax) {
  std::mt19937 random(35);
  for (const int32_t vocabulary : {1, 7, 64, 1001, 32000, 128256}) {
    const int32_t count = vocabulary > 5000 ? 6 : 40;
    auto logits = random_floats(random, static_cast<size_t>(count * vocabulary), DType::f32, 4.0F);
    for (size_t i = 0; i < logits.size(); i += 5) logits[i] = std::round(logits[i]);  // many are equal
    std::vector<LogprobRow> rows;
    std::vector<int32_t> drawn;
    for (int32_t r = 0; r < count; ++r) {
      const auto id = static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary));
      drawn.push_back(id);
      rows.push_back({r, r % 2 == 0 ? id : -1, r, static_cast<int32_t>(random() % 21)});
    }
    const auto made = run(stream_, logits, vocabulary, rows, drawn);
    for (size_t r = 0; r < rows.size(); ++r) {
      SCOPED_TRACE("V " + std::to_string(vocabulary) + " row " + std::to_string(r));
      check(made[r], rows[r], drawn[r], logits.data() + r * static_cast<size_t>(vocabulary), vocabulary);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TokenLogprobs, OddLogits) {
  std::vector<float> logits(4 * 30, -kInfinity);
  logits[3] = 2.0F;  // row 0: one token has it all
  logits[4] = std::nanf("");
  logits[30 + 8] = logits[30 + 9] = kInfinity;  // row 1: two share it
  logits[30 + 1] = 5.0F;
  std::fill_n(logits.begin() + 60, 30, std::nanf(""));  // row 2: none
  logits[90 + 29] = -3e38F;                             // row 3
  const std::vector<LogprobRow> rows{{0, 4, 0, 3}, {1, 9, 0, 3}, {2, 5, 0, 20}, {3, 29, 0, 0}};
  const auto made = run(stream_, logits, 30, rows, {0});
  EXPECT_EQ(made[0].logprob, -kInfinity);
  EXPECT_EQ(made[0].rank, 5);
  EXPECT_EQ(made[0].top_ids[0], 3);
  EXPECT_EQ(made[0].top_logprobs[0], 0.0F);
  EXPECT_EQ(made[0].top_ids[1], 0);
  EXPECT_EQ(made[0].top_logprobs[1], -kInfinity);
  EXPECT_NEAR(made[1].logprob, -std::log(2.0F), 1e-6F);
  EXPECT_EQ(made[1].rank, 2);
  EXPECT_EQ(made[1].top_ids[2], 1);
  EXPECT_EQ(made[1].top_logprobs[2], -kInfinity);
  EXPECT_EQ(made[2].logprob, -kInfinity);
  EXPECT_EQ(made[2].rank, 6);
  EXPECT_EQ(made[2].top, 20);
  EXPECT_EQ(made[2].top_ids[19], 19);
  EXPECT_EQ(made[3].logprob, 0.0F);
  EXPECT_EQ(made[3].rank, 1);
  EXPECT_EQ(made[3].top, 0);
}

}  // namespace
}  // namespace batchmax::kernels::testing
