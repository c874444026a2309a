// What the gateway asks of a group, in tokens: one choice of one prompt. And what comes back.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "config/compression.h"

namespace batchmax::coordinator {

struct SamplingParameters {
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  // 0: off
  uint64_t seed = 0;
  int32_t choice = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
};

struct LogitBias {
  int32_t id;
  float bias;
};

struct TokenRequest {
  std::vector<int32_t> tokens;  // the prompt
  int32_t max_tokens = 16;
  config::Compression compression;
  SamplingParameters sampling;
  std::vector<int32_t> stop_ids;
  int32_t min_tokens = 0;             // stop ids are not drawn before that many
  std::vector<LogitBias> logit_bias;  // no id twice
  int32_t logprobs = -1;              // of drawn tokens: how many alternatives with them; -1: none
  bool prompt_logprobs = false;       // of the prompt's tokens too; needs logprobs >= 0
};

// How likely a token was in the model's own distribution, before biases, penalties and temperature.
struct TokenLogprob {
  float logprob = 0;  // may be -inf
  int32_t rank = 1;   // 1: none was likelier
  struct Alternative {
    int32_t id;
    float logprob;
  };
  std::vector<Alternative> top;  // the likeliest, best first
};

enum class FinishReason : uint8_t { stop, length, abort, error };

struct TokenChunk {
  std::vector<int32_t> ids;
  std::vector<TokenLogprob> logprobs = {};  // one per id where they were asked for
};
// Of the prompt's tokens, in order from its second one: the first has none. Before the first TokenChunk.
struct PromptLogprobs {
  std::vector<TokenLogprob> logprobs;
};
// The one terminal event of a request.
struct TokenEnd {
  FinishReason reason = FinishReason::stop;
  std::string error;  // reason error: what to tell the client
  uint64_t kv_bytes_held = 0;
  uint64_t kv_bytes_peak = 0;
  uint64_t tokens_evicted = 0;
};
using TokenEvent = std::variant<TokenChunk, PromptLogprobs, TokenEnd>;

// Why a request was not taken. The gateway turns it into a status and a message.
struct Rejection {
  enum class Kind : uint8_t {
    queue_full,  // 503 + Retry-After
    no_group,    // 503 + Retry-After
    never_fits,  // 400: how many tokens fit in this mode, and which kv_budget or mode would fit
    draining,    // 503
  };
  Kind kind;
  std::string message;
};

}  // namespace batchmax::coordinator
