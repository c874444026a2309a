#include "monitoring/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace batchmax::monitoring {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string written(const Log::Options& options, const std::function<void(const Log&)>& use) {
  ::testing::internal::CaptureStderr();
  use(Log(options));
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, WritesOneKeyValueLinePerEvent) {
  const std::string text = written({LogLevel::info, false, "batchmax"}, [](const Log& log) {
    log.info("group up", {{"group", "g 0"}, {"epoch", 3}, {"ok", true}});
  });
  EXPECT_THAT(
      text, MatchesRegex("....-..-..T..:..:......Z info batchmax: group up group=\"g 0\" epoch=3 ok=true\n"));
}

TEST(Log, HostileTextCannotForgeALine) {
  const std::string text = written({LogLevel::info, false, "batchmax"}, [](const Log& log) {
    log.info("request", {{"user", "a\nb=\"c\"\x1b"}});
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, HasSubstr("user=\"a\\nb=\\\"c\\\"\\u001b\""));
}

TEST(Log, WritesJson) {
  const std::string text = written({LogLevel::info, true, "batchmax"}, [](const Log& log) {
    log.warning("slow \"step\"", {{"seconds", 2}});
  });
  EXPECT_THAT(
      text,
      HasSubstr(
          "\"level\":\"warning\",\"program\":\"batchmax\",\"event\":\"slow \\\"step\\\"\",\"seconds\":2}"));
}

TEST(Log, LevelFilters) {
  EXPECT_EQ(written({LogLevel::error, false, "batchmax"}, [](const Log& log) { log.warning("hidden"); }), "");
}

}  // namespace
}  // namespace batchmax::monitoring
