// From the bytes of a request's body to tokens that can be submitted, or the error that says why not.
// Immutable; any thread: it runs on the work pool.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "config/compression.h"
#include "coordinator/gateway/generation_request.h"
#include "coordinator/routing/cluster.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/tokenizer_facts.h"

namespace batchmax::coordinator {

// Null: the model folder has none.
struct TextTools {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
  const TokenizerFacts* facts = nullptr;
};

struct PreparedRequest {
  GenerationRequest request;
  struct PromptTokens {
    std::vector<int32_t> tokens;  // at least one
    int32_t max_tokens;           // at least 1; tokens and max_tokens together fit the model
    std::string text;             // where the answer echoes it
  };
  std::vector<PromptTokens> prompts;  // each has request.n choices
};

class RequestPreparer {
 public:
  RequestPreparer(std::string served_model, config::CompressionSettings compression, TextTools text);

  std::variant<PreparedRequest, ApiError> prepare(Api api, std::string_view body,
                                                  const ModelFacts& facts) const;

  const std::string& served_model() const { return served_model_; }
  const TextTools& text() const { return text_; }

 private:
  std::variant<std::vector<std::vector<int32_t>>, ApiError> tokenize(const GenerationRequest& request) const;
  std::string echoed_text(const GenerationRequest& request, size_t prompt,
                          const std::vector<int32_t>& ids) const;

  std::string served_model_;
  config::CompressionSettings compression_;
  TextTools text_;
};

}  // namespace batchmax::coordinator
