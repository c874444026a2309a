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

// What `pages` hold of one sequence. INT32_MAX: any length.
struct Longest {
  int32_t prompt;  // tokens of the prompt, at most
  int32_t whole;   // tokens of prompt and output together, at most
};
Longest longest_sequence(const Compression& compression, int32_t pages);

}  // namespace batchmax::config
