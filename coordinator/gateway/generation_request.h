// A completion request as a client means it: JSON in, a typed and range-checked value out. The only place
// where fields are checked. Pure, any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/compression.h"
#include "coordinator/gateway/api_error.h"
#include "coordinator/routing/token_request.h"

namespace batchmax::coordinator {

enum class Api : uint8_t { completion, chat };

// What the checks depend on.
struct RequestBounds {
  std::string served_model;
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
  config::CompressionSettings compression;
};

// How a chat becomes a prompt.
struct ChatShape {
  bool add_generation_prompt = true;    // the opening of an answer follows
  bool continue_final_message = false;  // the prompt ends inside the last message
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct GenerationRequest {
  Api api = Api::completion;
  std::vector<Prompt> prompts;  // completion: 1 to 128
  boost::json::array messages;  // chat: role, content, perhaps name and reasoning_content: strings
  ChatShape chat_shape;
  bool add_special_tokens = true;  // to prompts that are text; a chat template has spelled its own out
  int32_t n = 1;                   // choices per prompt
  std::optional<int32_t> max_tokens;
  int32_t min_tokens = 0;
  SamplingParameters sampling;  // its seed only where has_seed
  bool has_seed = false;
  std::vector<LogitBias> logit_bias;
  int32_t logprobs = -1;  // alternatives for each token; -1: no log probabilities
  bool echo = false;      // completion: the answer begins with the prompt
  bool skip_special_tokens = true;
  std::vector<std::string> stop;  // none empty
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  config::Compression compression;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  std::vector<std::string> unknown_fields;  // ignored
};

std::variant<GenerationRequest, ApiError> read_generation_request(Api api, const boost::json::object& body,
                                                                  const RequestBounds& bounds);

// The body as one JSON object, or 400. Strict: duplicate keys, numbers that are not finite and invalid UTF-8
// are errors.
std::variant<boost::json::object, ApiError> read_body_object(std::string_view body);

// add_generation_prompt and continue_final_message, which exclude each other.
ChatShape read_chat_shape(class FieldReader& fields);

// 404 where the field model names another model; absent is fine.
void check_model(class FieldReader& fields, const std::string& served_model);

}  // namespace batchmax::coordinator
