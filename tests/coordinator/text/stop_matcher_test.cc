#include "coordinator/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace batchmax::coordinator {
namespace {

// The slow way: the text up to the stop that is complete first, the longest of those that end together.
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops)
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStop) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_EQ(matcher.add("some text E"), "some text ");
  EXPECT_EQ(matcher.add("N"), "");
  EXPECT_EQ(matcher.add("ough\n"), "ENough");
  EXPECT_EQ(matcher.finish(), "\n");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, CutsAtTheStop) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.add("aE"), "a");
  EXPECT_EQ(matcher.add("EENDing"), "EE");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.add("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, GivesOutWholeCharacters) {
  // The owl and the stop begin with the same three bytes.
  StopMatcher matcher({"🦊"});
  EXPECT_EQ(matcher.add("a🦉"), "a🦉");
  EXPECT_EQ(matcher.add("🦊"), "");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, FindsTheSameHoweverTheTextIsDivided) {
  std::mt19937 random(5);
  const auto draw = [&](size_t below) { return static_cast<size_t>(random() % below); };
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t i = 0, size = 1 + draw(most); i < size; ++i) text += "ab\n"[draw(3)];
    return text;
  };
  size_t stopped = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0, count = draw(4); i < count; ++i) stops.push_back(word(6));
    const std::string text = word(40), expected = cut(text, stops);
    StopMatcher matcher(stops);
    std::string given;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + draw(5);
      given += matcher.add(text.substr(at, size));
      // What is out is certain: never more than will remain.
      ASSERT_TRUE(expected.starts_with(given)) << text;
      at += size;
    }
    stopped += matcher.stopped();
    given += matcher.finish();
    ASSERT_EQ(given, expected) << text;
  }
  EXPECT_GT(stopped, 5'000u);
}

}  // namespace
}  // namespace batchmax::coordinator
