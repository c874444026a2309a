#include "coordinator/text/utf8.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

TEST(Utf8, KnowsEveryCodePoint) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Head head = utf8_head(text);
    ASSERT_TRUE(head.valid && !head.truncated && head.length == text.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(utf8_length(text[0]), text.size());
    size_t at = 0;
    ASSERT_EQ(next_code_point(text, at), c);
    ASSERT_EQ(at, text.size());
    // Each of its beginnings is one piece that more bytes could complete.
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const Utf8Head part = utf8_head(std::string_view(text).substr(0, cut));
      ASSERT_TRUE(!part.valid && part.truncated && part.length == cut) << static_cast<uint32_t>(c);
    }
  }
}

// The table of Unicode 15, 3.9: one U+FFFD for each maximal subpart.
TEST(Utf8, ReplacesWhatIsIllFormed) {
  const std::string mark(kReplacementCharacter);
  EXPECT_EQ(replace_invalid_utf8("\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            mark + mark + mark + "b" + mark + "c" + mark + mark + "d");
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), mark + mark);                        // longer than it need be
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), mark + mark + mark);             // half of a surrogate pair
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), mark + mark + mark + mark);  // beyond U+10FFFF
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82"), "a" + mark);
  EXPECT_EQ(replace_invalid_utf8("gr\xC3\xBC\xC3\x9F"), "grüß");
  EXPECT_FALSE(is_valid_utf8("\xE2\x82"));
  EXPECT_TRUE(is_valid_utf8(""));
}

TEST(Utf8, CountsAndCutsByCharacters) {
  const std::string text = "aé的🦉b";
  EXPECT_EQ(count_code_points(text), 5u);
  EXPECT_EQ(substring(text, 1, 4), "é的🦉");
  EXPECT_EQ(substring(text, 0, 9), text);
  EXPECT_EQ(substring(text, 4, 2), "");
  EXPECT_EQ(substring(text, 7, 9), "");
  EXPECT_EQ(previous_character(text, text.size() - 1), 6u);
}

}  // namespace
}  // namespace batchmax::coordinator
