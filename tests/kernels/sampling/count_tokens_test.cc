#include "kernels/sampling/count_tokens.h"

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class CountTokens : public OnBackend {};
BATCHMAX_ON_BACKENDS(CountTokens);

// Three steps of several sequences against counts kept one token at a time.
TEST_P(CountTokens, CountsPromptAndOutputApartAndForgetsWhatAPlaceHeld) {
  constexpr int64_t kSequences = 5, kVocabulary = 300, kTokens = 700;
  std::mt19937 random(31);
  std::vector<int32_t> expected(kSequences * kVocabulary, 77);  // of whoever was there before
  const Array counts(stream_, expected, {kSequences, kVocabulary});
  for (int step = 0; step < 3; ++step) {
    std::vector<int32_t> ids(kTokens);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 40);
    std::vector<CountRow> rows;
    for (int32_t s = 0; s < kSequences; ++s) {
      CountRow row{};
      row.sequence = step > 0 && s == 2 ? kNoSequence : s;
      row.token_begin = s * 140;
      row.token_count = step == 2 ? 1 : 130 + s;
      row.prompt_count = step == 0 ? row.token_count : step == 1 ? s * 10 : 0;
      row.restart = step == 0 ? 1 : 0;
      rows.push_back(row);
      if (row.sequence == kNoSequence) continue;
      int32_t* own = expected.data() + s * kVocabulary;
      if (row.restart == 1) std::fill_n(own, kVocabulary, 0);
      for (int32_t i = 0; i < row.token_count; ++i) {
        int32_t& count = own[ids[static_cast<size_t>(row.token_begin + i)]];
        count = i < row.prompt_count ? count | 1 : count + 2;
      }
    }
    const Values<CountRow> values(stream_, rows);
    const Array tokens(stream_, ids, {kTokens});
    count_tokens(stream_, values.host(), values.data(), kSequences, tokens.tensor(), counts.tensor());
    ASSERT_EQ(counts.read<int32_t>(stream_), expected) << "step " << step;
  }
  EXPECT_EQ(count_in_output(7), 3);
}

}  // namespace
}  // namespace batchmax::kernels::testing
