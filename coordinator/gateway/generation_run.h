// One completion request while it runs: tokens in, pieces of text per choice out, counts kept. Knows no HTTP.
// Event loop only.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gateway/choice_text.h"
#include "coordinator/gateway/request_preparer.h"
#include "coordinator/gateway/token_scores.h"
#include "coordinator/gateway/token_stream.h"

namespace batchmax::coordinator {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// Memory that a request took, over all its choices.
struct KvFigures {
  uint64_t bytes_reserved = 0;
  uint64_t bytes_held = 0;  // at the end
  uint64_t bytes_peak = 0;
  uint64_t tokens_evicted = 0;  // per KV head and layer
  bool complete = true;         // false: a choice ended at a stop string, before its group reported
};

struct Delta {
  size_t choice = 0;
  bool first = false;               // of its choice
  std::string text;                 // may be empty: held back, or half a character
  std::vector<int32_t> tokens;      // one; none in the closing delta; a prompt's in one that echoes it
  std::vector<ScoredToken> scored;  // of those tokens, where log probabilities were asked for
  std::optional<FinishReason> finish;
  int64_t completion_tokens = 0;  // of all choices so far, with this delta
};

class GenerationRun {
 public:
  // `prepared` and `tokenizer` outlive this. The choices of the first prompt come first.
  GenerationRun(const PreparedRequest& prepared, const ModelFacts& facts, const Tokenizer* tokenizer,
                TokenStream& tokens);

  // What came within `patience`: one delta per token, in order, before them one for an echo; empty when
  // nothing came. Takes at most about max_tokens at a time.
  boost::asio::awaitable<std::vector<Delta>> next(std::chrono::steady_clock::duration patience,
                                                  size_t max_tokens);

  size_t choices() const { return choices_.size(); }
  bool done() const { return open_ == 0 || error_.has_value(); }
  // Why the request failed; whatever was sent before stands.
  const std::optional<std::string>& error() const { return error_; }
  Usage usage() const { return {prompt_tokens_, completion_tokens_}; }
  std::optional<std::chrono::steady_clock::time_point> first_token() const { return first_token_; }
  KvFigures figures() const { return figures_; }

 private:
  struct Choice {
    ChoiceText text;
    TokenScores scores;
    const PreparedRequest::PromptTokens* prompt;
    bool open = true;
    bool begun = false;                         // a delta of it has been made
    std::vector<TokenLogprob> prompt_logprobs;  // until they are echoed
  };
  Delta next_delta(size_t index, std::vector<Delta>& deltas);
  void take(TokenStream::Event event, std::vector<Delta>& deltas);
  void take_tokens(size_t index, TokenChunk chunk, std::vector<Delta>& deltas);
  void finish(size_t index);

  const GenerationRequest& request_;
  TokenStream& tokens_;
  std::vector<Choice> choices_;
  size_t open_;
  int64_t prompt_tokens_ = 0;
  int64_t completion_tokens_ = 0;
  std::optional<std::string> error_;
  std::optional<std::chrono::steady_clock::time_point> first_token_;  // when it came; empty: none yet
  KvFigures figures_;
};

// stop | length | abort | error
const char* finish_word(FinishReason reason);

}  // namespace batchmax::coordinator
