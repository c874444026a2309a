// One sequence as the scheduler is asked to run it: a Submit that has been checked (submit_check.h). A plain
// value.
#pragma once

#include <cstdint>
#include <vector>

#include "config/compression.h"

namespace batchmax::worker {

struct Sampling {
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  // 0: off
  uint64_t seed = 0;
  int32_t choice = 0;
};

struct SequenceRequest {
  uint64_t request = 0;
  uint32_t attempt = 0;
  std::vector<int32_t> tokens;  // the prompt, and in a replay the tokens emitted so far
  int32_t prompt_length = 0;    // of the original prompt: 1 <= prompt_length <= tokens
  int32_t max_tokens = 1;       // output tokens in all, replayed ones included: > emitted()
  int32_t min_tokens = 0;       // stop ids are ordinary tokens before that many
  config::Compression compression;
  Sampling sampling;
  std::vector<int32_t> stop_ids;

  int32_t emitted() const { return static_cast<int32_t>(tokens.size()) - prompt_length; }
  int32_t remaining() const { return max_tokens - emitted(); }
};

}  // namespace batchmax::worker
