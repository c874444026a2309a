// What a sequence costs in pages: the one formula that admission (coordinator) and the leader share.
#pragma once

#include <cstdint>

#include "config/compression.h"

namespace batchmax::config {

inline constexpr int32_t kPageSlots = 64;

struct Reservation {
  int32_t pages;               // from admission on
  int32_t pages_after_prompt;  // mode decode gives the rest back after its selection; otherwise = pages
};

// prompt_tokens >= 1, max_tokens >= 1. A replay is priced as what it is: its prompt holds the tokens emitted
// so far, and max_tokens is what is left of them, at least 1.
Reservation reservation(const Compression& compression, int32_t prompt_tokens, int32_t max_tokens);

// The largest n so that `pages` hold every sequence of prompt_tokens + max_tokens <= n, however it is split
// (INT32_MAX: any length). Mode decode: one token less than that may be, so that the bound is whole pages.
int32_t longest_sequence(const Compression& compression, int32_t pages);

}  // namespace batchmax::config
