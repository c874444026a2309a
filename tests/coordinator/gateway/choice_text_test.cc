#include "coordinator/gateway/choice_text.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

// The slow and obvious way: the match that ends first, the longest of those.
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopMatcher, CutsWhereTheObviousWayDoesHoweverTheTextIsDivided) {
  uint64_t state = 7;
  const auto draw = [&state](size_t bound) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>(state >> 33) % bound;
  };
  const auto word = [&](size_t length) {
    std::string made;
    for (size_t i = 0; i < length; ++i) made += static_cast<char>('a' + draw(2));
    return made;
  };
  int cuts = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i <= draw(3); ++i) stops.push_back(word(3 + draw(5)));
    const std::string text = word(draw(40));
    StopMatcher matcher(stops);
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t part = 1 + draw(5);
      shown += matcher.add(std::string_view(text).substr(at, part));
      at += part;
      // What is shown is never taken back.
      ASSERT_TRUE(cut(text, stops).starts_with(shown)) << text;
    }
    if (!matcher.stopped()) shown += matcher.finish();
    EXPECT_EQ(shown, cut(text, stops)) << text;
    EXPECT_EQ(matcher.stopped(), cut(text, stops) != text);
    cuts += matcher.stopped();
  }
  EXPECT_GT(cuts, 500);
}

TEST(StopMatcher, HoldsBackWholeCharactersOnly) {
  StopMatcher matcher({"\xc3\xa4x"});
  EXPECT_EQ(matcher.add("a\xc3\xa4"), "a");
  EXPECT_EQ(matcher.add("y"), "\xc3\xa4y");
  EXPECT_EQ(matcher.add("\xc3\xa4x..."), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.add("more"), "");
}

TEST(StopMatcher, PassesEverythingOnWithoutStops) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.add("abc"), "abc");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(ChoiceText, IsEmptyWithoutATokenizer) {
  ChoiceText text(nullptr, {});
  EXPECT_EQ(text.add(5), "");
  EXPECT_EQ(text.finish(), "");
}

}  // namespace
}  // namespace batchmax::coordinator
