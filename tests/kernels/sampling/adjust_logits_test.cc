#include "kernels/sampling/adjust_logits.h"

#include <limits>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class AdjustLogits : public OnBackend {};
BATCHMAX_ON_BACKENDS(AdjustLogits);

constexpr int64_t kEntries = 50;

// One token at a time, as the contract says it.
double adjusted(const AdjustRow& row, const LogitEntry* entries, int32_t count, int32_t id, float logit) {
  double value = static_cast<double>(logit);
  for (int32_t i = 0; i < row.biases; ++i) {
    if (entries[i].token == id) value += static_cast<double>(entries[i].bias);
  }
  if (count != 0) {
    const auto repetition = static_cast<double>(row.repetition);
    value = value > 0 ? value / repetition : value * repetition;
  }
  const int times = count / 2;
  if (times > 0) value -= static_cast<double>(row.frequency) * times + static_cast<double>(row.presence);
  for (int32_t i = row.ban_begin; i < row.ban_begin + row.bans; ++i) {
    if (entries[i].token == id) return -std::numeric_limits<double>::infinity();
  }
  return value;
}

std::vector<AdjustRow> rows_of_all_kinds(std::mt19937& random, int32_t sequences) {
  const auto one_of = [&](const std::vector<float>& choices) { return choices[random() % choices.size()]; };
  std::vector<AdjustRow> rows;
  for (int32_t r = 0; r < sequences; ++r) {
    AdjustRow row{};
    row.sequence = r % 7 == 5 ? kNoSequence : sequences - 1 - r;
    row.biases = static_cast<int32_t>(one_of({0, 1, 30}));
    row.ban_begin = row.biases;
    row.bans = static_cast<int32_t>(one_of({0, 3, 20}));
    row.repetition = one_of({1, 1.3F, 0.5F});
    row.presence = one_of({0, 0.7F, -2});
    row.frequency = one_of({0, 0.25F, -1});
    rows.push_back(row);
  }
  return rows;
}

TEST_P(AdjustLogits, DoesWhatTheContractSays) {
  std::mt19937 random(33);
  for (const int32_t vocabulary : {64, 1001, 32000}) {
    const int32_t sequences = 40;
    const auto logits = random_floats(random, static_cast<size_t>(sequences * vocabulary), DType::f32, 3.0F);
    std::vector<int32_t> counts(static_cast<size_t>(sequences * vocabulary));
    for (int32_t& count : counts) count = random() % 3 == 0 ? static_cast<int32_t>(random() % 9) : 0;
    std::vector<LogitEntry> entries;
    for (int32_t s = 0; s < sequences; ++s) {
      const auto first = static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary));
      for (int32_t i = 0; i < kEntries; ++i)  // no token twice
        entries.push_back({(first + i) % vocabulary, static_cast<float>(i) - 25.0F});
    }
    const std::vector<AdjustRow> rows = rows_of_all_kinds(random, sequences);
    const Values<AdjustRow> values(stream_, rows);
    const Values<LogitEntry> table(stream_, entries);
    const Array given(stream_, logits, {sequences, vocabulary});
    const Array counted(stream_, counts, {sequences, vocabulary});
    const Tensor bytes(const_cast<LogitEntry*>(table.data()), DType::u8,
                       {sequences, kEntries * static_cast<int64_t>(sizeof(LogitEntry))});
    adjust_logits(stream_, given.tensor(), values.host(), values.data(), {counted.tensor(), bytes});
    const std::vector<float> made = given.read<float>(stream_);
    for (size_t i = 0; i < made.size(); ++i) {
      const AdjustRow& row = rows[i / static_cast<size_t>(vocabulary)];
      if (row.sequence == kNoSequence) {
        ASSERT_EQ(made[i], logits[i]);
        continue;
      }
      const auto id = static_cast<int32_t>(i % static_cast<size_t>(vocabulary));
      const double expected =
          adjusted(row, entries.data() + row.sequence * kEntries,
                   counts[static_cast<size_t>(row.sequence * vocabulary + id)], id, logits[i]);
      if (std::isinf(expected)) {
        ASSERT_EQ(static_cast<double>(made[i]), expected) << "row " << row.sequence << " token " << id;
      } else {
        ASSERT_NEAR(static_cast<double>(made[i]), expected, 1e-4)
            << "row " << row.sequence << " token " << id;
      }
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
