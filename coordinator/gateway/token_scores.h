// Tokens with their log probabilities, and the two shapes in which OpenAI's answers hold them. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coordinator/routing/token_request.h"
#include "coordinator/text/tokenizer.h"

namespace batchmax::coordinator {

struct ScoredToken {
  int32_t id;
  int64_t offset = 0;                   // code points of the text before it
  std::optional<TokenLogprob> logprob;  // empty: the first token of a prompt
  bool begins_text = false;             // its leading space may not be part of the text
};

// One choice's tokens as they come. Refers to the tokenizer; null: the model has none.
class TokenScores {
 public:
  // behind_text: as of StreamDetokenizer.
  TokenScores(const Tokenizer* tokenizer, bool skip_special_tokens, bool behind_text)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens), begins_text_(!behind_text) {}
  ScoredToken add(int32_t id, std::optional<TokenLogprob> logprob);

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool begins_text_;
  int64_t offset_ = 0;
};

// A token that is a part of a character reads bytes:\xf0\x9f in a completion, \xf0\x9f in a chat.
// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}: alternatives by their text, the token with
// them.
boost::json::object completion_logprobs(const Tokenizer* tokenizer, std::span<const ScoredToken> tokens);
// {"content": [{"token", "logprob", "bytes", "top_logprobs"}, ...], "refusal": null}
boost::json::object chat_logprobs(const Tokenizer* tokenizer, std::span<const ScoredToken> tokens);

}  // namespace batchmax::coordinator
