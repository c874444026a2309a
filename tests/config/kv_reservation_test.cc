#include "config/kv_reservation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace batchmax::config {
namespace {

Compression with(Mode mode, int32_t budget) {
  Compression compression;
  compression.mode = mode;
  compression.budget = budget;
  return compression;
}

// Slots a sequence holds over its life, counted step by step.
struct Held {
  int32_t peak = 0;
  int32_t after_prompt = 0;
};
Held walk(const Compression& compression, int32_t prompt, int32_t max_tokens) {
  Held held;
  const auto cut = [&](int32_t n) {
    return compression.mode == Mode::off ? n : std::min(n, compression.budget);
  };
  int32_t slots = 0;
  for (int32_t done = 0; done < prompt; ++done) {
    slots = compression.mode == Mode::full ? cut(slots + 1) : slots + 1;
    held.peak = std::max(held.peak, slots);
  }
  slots = cut(slots);
  for (int32_t made = 1; made < max_tokens; ++made) {
    slots = cut(slots + 1);
    held.peak = std::max(held.peak, slots);
    held.after_prompt = std::max(held.after_prompt, slots);
  }
  held.after_prompt = std::max(held.after_prompt, cut(prompt));
  return held;
}

TEST(KvReservation, HoldsWhatTheSequenceWillEverHold) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full}) {
    for (const int32_t budget : {10, 64, 65, 200}) {
      for (const int32_t prompt : {1, 9, 63, 64, 65, 128, 300}) {
        for (const int32_t max_tokens : {1, 2, 63, 64, 65, 200}) {
          const Compression compression = with(mode, budget);
          const Reservation made = reservation(compression, prompt, max_tokens);
          const Held held = walk(compression, prompt, max_tokens);
          EXPECT_GE(made.pages * kPageSlots, held.peak);
          EXPECT_GE(made.pages_after_prompt * kPageSlots, held.after_prompt);
          EXPECT_LE(made.pages_after_prompt, made.pages);
          // Nothing is wasted but the last page's rest and the slot of the last token, which is never stored.
          EXPECT_LE((made.pages - 1) * kPageSlots, held.peak + 1);
          EXPECT_TRUE(mode == Mode::decode || made.pages_after_prompt == made.pages);
        }
      }
    }
  }
}

TEST(KvReservation, CountsByHand) {
  EXPECT_EQ(reservation(with(Mode::full, 1024), 4096, 256).pages, 16);
  EXPECT_EQ(reservation(with(Mode::full, 1024), 100, 20).pages, 2);
  EXPECT_EQ(reservation(with(Mode::off, 1024), 4096, 256).pages, 68);
  EXPECT_EQ(reservation(with(Mode::decode, 1024), 4096, 256).pages, 64);
  EXPECT_EQ(reservation(with(Mode::decode, 1024), 4096, 256).pages_after_prompt, 16);
  EXPECT_EQ(reservation(with(Mode::decode, 1024), 64, 64).pages, 2);
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(reservation(with(Mode::off, 1), kMost, kMost).pages, 67108864);
}

TEST(KvReservation, LongestSequenceFitsAndOneMoreDoesNot) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full}) {
    for (const int32_t budget : {10, 64, 65, 200}) {
      for (const int32_t pages : {1, 2, 3, 4}) {
        const Compression compression = with(mode, budget);
        const Longest longest = longest_sequence(compression, pages);
        EXPECT_LE(longest.prompt, longest.whole);
        for (int32_t prompt = 1; prompt < 400; ++prompt) {
          for (int32_t max_tokens = 1; max_tokens < 400; max_tokens += 3) {
            EXPECT_EQ(reservation(compression, prompt, max_tokens).pages <= pages,
                      prompt <= longest.prompt && prompt + max_tokens <= longest.whole)
                << prompt << " + " << max_tokens;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace batchmax::config
