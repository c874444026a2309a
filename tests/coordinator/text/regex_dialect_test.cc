// That the translations match what Oniguruma matches is shown by test_tokenizers.py (regex_dialect,
// set_in_set).
#include "coordinator/text/regex_dialect.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

std::string translated(std::string_view regex) {
  return oniguruma_to_pcre2(regex, [](const std::string& name) { return name == "Han"; });
}

TEST(RegexDialect, LeavesAloneWhatMeansTheSame) {
  for (const std::string same :
       {"", "a|b", R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^a\p{N}]++)",
        R"(\p{N}{1,3}|\d{2}?|x{3,}|{|a{,}|{2)", R"([a\]b-z]\[)", "ü+[äö]", R"(\)", R"(\p{L)"}) {
    EXPECT_EQ(translated(same), same);
  }
}

TEST(RegexDialect, RepeatsWhatAPlusBehindAnIntervalRepeats) {
  EXPECT_EQ(translated(R"(\p{N}{1,3}+)"), R"((?:\p{N}{1,3})+)");
  EXPECT_EQ(translated("(a|b){2}+c"), "(?:(a|b){2})+c");
  EXPECT_EQ(translated("é{2}+"), "(?:é{2})+");
  EXPECT_EQ(translated("a{,3}"), "a{0,3}");
}

TEST(RegexDialect, UnitesAndIntersectsSets) {
  EXPECT_EQ(translated("[a[bc]]"), "[abc]");
  EXPECT_EQ(translated(" ?[^(|[.,])]+"), " ?[^(|.,)]+");
  EXPECT_EQ(translated("[a[^b]]"), "(?:[a]|[^b])");
  EXPECT_EQ(translated("[a-z&&[^aeiou]]"), "(?:(?=(?:[^aeiou]))[a-z])");
  EXPECT_EQ(translated("[^a[^b]]"), R"((?:(?!(?:[a]|[^b]))\p{Any}))");
}

TEST(RegexDialect, NamesScriptsAndProperties) {
  EXPECT_EQ(translated(R"([\p{Han}]\P{Han}\p{^Han})"), R"([\p{sc:Han}]\P{sc:Han}\p{^sc:Han})");
  EXPECT_EQ(translated(R"(\p{Letter}\p{Lu})"), R"(\p{L}\p{Lu})");
  EXPECT_EQ(translated(R"(\u00e9[\h])"), R"(\x{00e9}[0-9a-fA-F])");
}

TEST(RegexDialect, EndsWhateverItIsGiven) {
  for (const std::string odd :
       {"[", "[^", "[a", "[[", "[&&", "[[:alpha:", "[\\", "(", ")", "a{1", "\\u12", "[a&&]"})
    translated(odd);
  translated(std::string(10'000, '['));
}

}  // namespace
}  // namespace batchmax::coordinator
