// One sequence as the scheduler is asked to run it: a Submit that has been checked (submit_check.h). A plain
// value.
#pragma once

#include <cstdint>
#include <vector>

#include "config/compression.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

struct Sampling {
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  // 0: off
  uint64_t seed = 0;
  int32_t choice = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;  // > 0

  bool penalised() const {
    return presence_penalty != 0 || frequency_penalty != 0 || repetition_penalty != 1;
  }
};

struct SequenceRequest {
  uint64_t request = 0;
  uint32_t attempt = 0;
  std::vector<int32_t> tokens;  // the prompt, and in a replay the tokens emitted so far
  int32_t prompt_length = 0;    // of the original prompt: 1 <= prompt_length <= tokens
  int32_t max_tokens = 1;       // output tokens in all, replayed ones included: > emitted()
  int32_t min_tokens = 0;       // stop ids are not drawn before that many
  config::Compression compression;
  Sampling sampling;
  std::vector<int32_t> stop_ids;
  std::vector<kernels::LogitEntry> logit_bias;  // no id twice; with stop_ids at most kMaxLogitEntries
  int32_t logprobs = -1;  // of drawn tokens: how many alternatives with them, at most 20; -1: none
  // Of the prompt's tokens from this position on, with as many alternatives; 0: none.
  int32_t prompt_logprobs_from = 0;

  int32_t emitted() const { return static_cast<int32_t>(tokens.size()) - prompt_length; }
  int32_t remaining() const { return max_tokens - emitted(); }
  // That are processed at most: the last token drawn is not. The same in every attempt.
  int32_t positions() const { return prompt_length + max_tokens - 1; }
  bool bans_stop_ids() const { return min_tokens > emitted() && !stop_ids.empty(); }
};

}  // namespace batchmax::worker
