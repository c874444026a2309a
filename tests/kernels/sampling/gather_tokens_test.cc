#include "kernels/sampling/gather_tokens.h"

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class GatherTokens : public OnBackend {};
BATCHMAX_ON_BACKENDS(GatherTokens);

TEST_P(GatherTokens, TakesWhatEachSequenceDrewLastAndSkipsPadding) {
  std::vector<int32_t> last_token(300);
  for (size_t s = 0; s < last_token.size(); ++s) last_token[s] = static_cast<int32_t>(1000 + s);
  std::vector<Row> rows;
  std::vector<int32_t> expected(300, -7);
  for (int32_t r = 0; r < 277; ++r) {
    Row row{};
    row.token_count = 1;
    row.token_begin = 299 - r;
    row.sequence = r % 5 == 3 ? kNoSequence : (r * 7) % 300;
    if (row.sequence != kNoSequence) expected[static_cast<size_t>(row.token_begin)] = 1000 + row.sequence;
    rows.push_back(row);
  }
  const Values<Row> values(stream_, rows);
  const Array tokens(stream_, last_token, {300});
  const Array ids(stream_, std::vector<int32_t>(300, -7), {300});
  gather_tokens(stream_, {values.host(), values.data(), 277}, tokens.tensor(), ids.tensor());
  EXPECT_EQ(ids.read<int32_t>(stream_), expected);
}

}  // namespace
}  // namespace batchmax::kernels::testing
