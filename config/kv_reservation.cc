#include "config/kv_reservation.h"

#include <algorithm>
#include <limits>

namespace batchmax::config {
namespace {

int32_t pages_for(int64_t slots) { return static_cast<int32_t>((slots + kPageSlots - 1) / kPageSlots); }

}  // namespace

Reservation reservation(const Compression& compression, int32_t prompt_tokens, int32_t max_tokens) {
  const int64_t whole = int64_t{prompt_tokens} + max_tokens;
  if (compression.mode == Mode::off) return {pages_for(whole), pages_for(whole)};
  const int32_t compressed = pages_for(std::min<int64_t>(whole, compression.budget));
  if (compression.mode == Mode::full) return {compressed, compressed};
  return {std::max(pages_for(prompt_tokens), compressed), compressed};
}

Longest longest_sequence(const Compression& compression, int32_t pages) {
  constexpr int32_t kAny = std::numeric_limits<int32_t>::max();
  const auto slots = static_cast<int32_t>(std::min<int64_t>(int64_t{pages} * kPageSlots, kAny));
  const bool compressed = compression.mode != Mode::off && pages >= pages_for(compression.budget);
  return {compressed && compression.mode == Mode::full ? kAny : slots, compressed ? kAny : slots};
}

}  // namespace batchmax::config
