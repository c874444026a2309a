#include "coordinator/client/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/client/chat_flags.h"

namespace batchmax::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Words = std::vector<std::string>;

Arguments read(ChatFlags& flags, const Words& words) { return read_arguments(words, flags_of(flags)); }

TEST(Flags, BothSpellingsFillTheirVariable) {
  ChatFlags flags;
  const Arguments arguments =
      read(flags, {"--max-tokens", "7", "what", "--temperature=0.5", "--system=a=b", "now"});
  EXPECT_THAT(arguments.errors, IsEmpty());
  EXPECT_THAT(arguments.positionals, ElementsAre("what", "now"));
  EXPECT_EQ(flags.max_tokens, 7);
  EXPECT_EQ(flags.temperature, 0.5);
  EXPECT_EQ(flags.system, "a=b");
  EXPECT_EQ(flags.kv_budget, std::nullopt);
}

TEST(Flags, BehindTwoHyphensNothingIsAFlag) {
  ChatFlags flags;
  EXPECT_THAT(read(flags, {"-", "--", "--help", "-x"}).positionals, ElementsAre("-", "--help", "-x"));
  EXPECT_TRUE(read(flags, {"-h"}).help);
}

TEST(Flags, AllProblemsAreToldAtOnce) {
  ChatFlags flags;
  const Arguments arguments = read(
      flags, {"--max-token=7", "--temperature", "nan", "--compression=half", "--kv-budget", "0", "--url"});
  EXPECT_THAT(arguments.errors,
              ElementsAre(AllOf(HasSubstr("--max-token:"), HasSubstr("did you mean --max-tokens?")),
                          AllOf(HasSubstr("--temperature"), HasSubstr("'nan'"), HasSubstr("0 to 2")),
                          AllOf(HasSubstr("--compression"), HasSubstr("off | decode | full")),
                          AllOf(HasSubstr("--kv-budget"), HasSubstr("from 1")),
                          AllOf(HasSubstr("--url"), HasSubstr("value is missing"))));
}

TEST(Flags, TheDescriptionShowsDefaultsAndPlaces) {
  const config::Command chat = chat_description();
  EXPECT_EQ(chat.options.front().name, "url");
  EXPECT_EQ(chat.options.front().default_value, "http://127.0.0.1:8000");
  for (const config::Option& option : chat.options) {
    EXPECT_FALSE(option.section.empty()) << option.name;
    EXPECT_TRUE(option.sentence.ends_with('.')) << option.name;
  }
}

}  // namespace
}  // namespace batchmax::coordinator
