#include "config/compression.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace batchmax::config {
namespace {

Compression resolved(const CompressionSettings& server, std::optional<int32_t> budget = std::nullopt,
                     std::optional<Mode> mode = std::nullopt) {
  const auto result = resolve(server, budget, mode);
  if (const auto* too_small = std::get_if<BudgetTooSmall>(&result)) {
    ADD_FAILURE() << too_small->message;
    return {};
  }
  return std::get<Compression>(result);
}

TEST(Compression, DefaultsComeFromTheBudget) {
  const Compression made = resolved({});
  EXPECT_EQ(made, (Compression{Mode::full, 1024, 256, 4, 256, 32, 16}));
}

TEST(Compression, AnOwnBudgetBringsItsOwnDerivedValues) {
  const Compression made = resolved({}, 100);
  EXPECT_EQ(made.recent, 25);
  EXPECT_EQ(made.prompt_tail, 25);
  EXPECT_EQ(made.block, 48);
  EXPECT_EQ(resolved({}, 20).block, 1);
  EXPECT_EQ(resolved({}, 4096).block, 256);
  CompressionSettings fixed;
  fixed.recent = 10;
  fixed.prompt_tail = 3;
  EXPECT_EQ(resolved(fixed, 4096).recent, 10);
  EXPECT_EQ(resolved(fixed, 4096).prompt_tail, 3);
}

TEST(Compression, OffHasNoBounds) {
  EXPECT_EQ(resolved({}, 1, Mode::off).mode, Mode::off);
  EXPECT_EQ(resolved({}, 1, Mode::off).block, 256);
}

// Refused below one budget and taken from it on, whatever the server set; the refusals name that budget.
TEST(Compression, EveryBudgetFromTheLeastUpwardWorks) {
  for (const int32_t sinks : {0, 1, 2, 3, 4, 5, 50, 61, 130}) {
    for (const std::optional<int32_t> recent :
         {std::optional<int32_t>{}, std::optional<int32_t>{1}, std::optional<int32_t>{70}}) {
      for (const std::optional<int32_t> tail :
           {std::optional<int32_t>{}, std::optional<int32_t>{0}, std::optional<int32_t>{1}}) {
        CompressionSettings server;
        server.sinks = sinks;
        server.recent = recent;
        server.prompt_tail = tail;
        const int32_t least = least_own_budget(server, Mode::full);
        for (int32_t budget = -1; budget < 700; ++budget) {
          const auto result = resolve(server, budget, std::nullopt);
          if (const auto* too_small = std::get_if<BudgetTooSmall>(&result)) {
            EXPECT_LT(budget, least);
            EXPECT_EQ(too_small->least, least);
            EXPECT_NE(too_small->message.find("here is " + std::to_string(least) + " ("), std::string::npos);
            continue;
          }
          EXPECT_GE(budget, least);
          const Compression& made = std::get<Compression>(result);
          EXPECT_LT(made.sinks + made.recent + made.prompt_tail, budget);
          EXPECT_LE(made.prompt_tail, made.recent);
          EXPECT_GE(made.recent, 1);
          EXPECT_GE(made.block, 1);
          EXPECT_LE(made.block, budget / 2);
        }
      }
    }
  }
}

// b / 4 is rounded down: 7 protects 4 + 1 + 1 of its slots, 8 protects 4 + 2 + 2.
TEST(Compression, ABudgetBelowOneThatFailsIsNotTheLeast) {
  EXPECT_EQ(least_own_budget({}, Mode::full), 9);
  EXPECT_TRUE(std::holds_alternative<BudgetTooSmall>(resolve({}, 7, std::nullopt)));
  EXPECT_EQ(resolved({}, 9).recent, 2);
  CompressionSettings huge;
  huge.sinks = 2147483647;
  EXPECT_EQ(least_own_budget(huge, Mode::decode), 0);
  huge.sinks = 2000000000;
  huge.recent = huge.prompt_tail = 5;
  EXPECT_EQ(least_own_budget(huge, Mode::decode), 2000000011);
}

TEST(Compression, ServerBudgetMustHoldTwoBlocks) {
  CompressionSettings server;
  server.budget = 300;
  const auto result = resolve(server, std::nullopt, std::nullopt);
  ASSERT_TRUE(std::holds_alternative<BudgetTooSmall>(result));
  EXPECT_EQ(std::get<BudgetTooSmall>(result).least, 512);
  EXPECT_NE(std::get<BudgetTooSmall>(result).message.find("here at most 150"), std::string::npos);
}

TEST(Compression, SettingsThatNoBudgetCanMendSaySo) {
  CompressionSettings server;
  server.recent = 8;
  server.prompt_tail = 9;
  const auto result = resolve(server, 1024, std::nullopt);
  ASSERT_TRUE(std::holds_alternative<BudgetTooSmall>(result));
  EXPECT_EQ(std::get<BudgetTooSmall>(result).least, 0);
  EXPECT_NE(std::get<BudgetTooSmall>(result).message.find("at most recent 8"), std::string::npos);
  server.recent = 2147483647;
  server.prompt_tail.reset();
  EXPECT_EQ(std::get<BudgetTooSmall>(resolve(server, 1024, std::nullopt)).least, 0);
}

TEST(Compression, NamesGoBothWays) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full})
    EXPECT_EQ(mode_from_name(name_of(mode)), mode);
  for (const Scope scope : {Scope::head, Scope::layer}) EXPECT_EQ(scope_from_name(name_of(scope)), scope);
  EXPECT_FALSE(mode_from_name("Full"));
  EXPECT_FALSE(scope_from_name(""));
}

}  // namespace
}  // namespace batchmax::config
