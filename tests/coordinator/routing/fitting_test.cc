#include "coordinator/routing/fitting.h"

#include <gmock/gmock.h>

#include <variant>

#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

using config::Compression;
using config::Mode;
using testing::HasSubstr;

Compression resolved(std::optional<int32_t> budget, Mode mode) {
  return std::get<Compression>(config::resolve(config::CompressionSettings{}, budget, mode));
}

std::string reason(const Compression& compression, int32_t prompt, int32_t max_tokens, int32_t capacity) {
  return reason_it_never_fits({}, compression, prompt, max_tokens, capacity).value_or("fits");
}

TEST(Fitting, SaysNothingWhenItFits) {
  EXPECT_EQ(reason(resolved(std::nullopt, Mode::full), 1'000'000, 16, 16), "fits");
  EXPECT_EQ(reason(resolved(std::nullopt, Mode::off), 1000, 24, 16), "fits");
}

TEST(Fitting, NamesWhatFitsInThisModeAndTheModeThatWould) {
  const std::string text = reason(resolved(std::nullopt, Mode::off), 1000, 25, 16);
  EXPECT_THAT(text, HasSubstr("needs 17 KV pages"));
  EXPECT_THAT(text, HasSubstr("a group has 16"));
  EXPECT_THAT(text, HasSubstr("At most 1024 tokens"));
  EXPECT_THAT(text, HasSubstr("It would fit with compression full."));
}

TEST(Fitting, OfModeDecodeOnlyThePromptCountsWhereTheBudgetFits) {
  EXPECT_THAT(reason(resolved(512, Mode::decode), 1025, 1, 16),
              HasSubstr("Prompts of at most 1024 tokens fit"));
  EXPECT_EQ(reason(resolved(512, Mode::decode), 1024, 100'000, 16), "fits");
  EXPECT_THAT(reason(resolved(2048, Mode::decode), 1000, 25, 16),
              HasSubstr("At most 1024 tokens, prompt and"));
}

TEST(Fitting, NamesTheBudgetThatWould) {
  EXPECT_THAT(reason(resolved(2048, Mode::full), 5000, 100, 20),
              HasSubstr("It would fit with kv_budget 1280 or less."));
  // The prompt alone is too long for mode decode, and the server's own budget for this memory.
  EXPECT_THAT(reason(resolved(4096, Mode::decode), 5000, 100, 10),
              HasSubstr("It would fit with compression full with kv_budget 640 or less."));
}

TEST(Fitting, AdvisesOnlyWhatWorks) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full}) {
    for (const int32_t budget : {256, 1024, 4096}) {
      for (const int32_t prompt : {10, 700, 3000, 20000}) {
        for (int32_t capacity = 1; capacity < 80; ++capacity) {
          const Compression asked = resolved(budget, mode);
          const bool fits = config::reservation(asked, prompt, 50).pages <= capacity;
          const std::string text = reason(asked, prompt, 50, capacity);
          EXPECT_EQ(text == "fits", fits);
          const size_t at = text.find("kv_budget", text.find("It would fit"));
          if (text.find("It would fit") == std::string::npos || at == std::string::npos) continue;
          const int32_t advised = std::stoi(text.substr(at + 10));
          const Mode advised_mode =
              text.find("compression full", text.find("It would")) != std::string::npos ? Mode::full : mode;
          EXPECT_LE(config::reservation(resolved(advised, advised_mode), prompt, 50).pages, capacity) << text;
        }
      }
    }
  }
}

TEST(Fitting, AdmitsThatNothingWould) {
  EXPECT_THAT(reason(resolved(std::nullopt, Mode::full), 5000, 100, 0), HasSubstr("more KV memory"));
}

}  // namespace
}  // namespace batchmax::coordinator
