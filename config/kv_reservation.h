// What a sequence costs in pages: the one formula that admission (coordinator) and the leader share (METHOD 7).
#pragma once

#include <cstdint>

#include "config/compression.h"

namespace batchmax::config {

inline constexpr int32_t kPageSlots = 64;

struct Reservation {
  int32_t pages;         // from admission on
  int32_t pages_after_prompt;  // mode decode gives the rest back after its selection; otherwise = pages
};

// prompt_tokens >= 1, max_tokens >= 1.
Reservation reservation(const Compression& compression, int32_t prompt_tokens, int32_t max_tokens);

// The largest prompt_tokens + max_tokens that `pages` can hold (INT32_MAX: any length).
int32_t longest_sequence(const Compression& compression, int32_t pages);

}  // namespace batchmax::config
