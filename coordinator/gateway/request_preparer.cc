#include "coordinator/gateway/request_preparer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>

#include "config/kv_reservation.h"
#include "coordinator/gateway/chat_prompt.h"

namespace batchmax::coordinator {
namespace {

constexpr int32_t kCompletionTokens = 16;  // OpenAI's default for /v1/completions

const char* prompt_field(Api api) { return api == Api::chat ? "messages" : "prompt"; }

// The tokens of output that a prompt gets, or context_length_exceeded.
std::variant<int32_t, ApiError> output_length(const GenerationRequest& request, int32_t prompt_tokens,
                                              const ModelFacts& facts) {
  const int64_t room = int64_t{facts.max_model_len} - prompt_tokens;
  const int64_t least = std::max(1, request.max_tokens.value_or(1));
  if (least > room) {
    return ApiError{
        400, "context_length_exceeded",
        fmt::format(
            "This model's maximum context length is {} tokens, but {} were asked for: {} of prompt and {} "
            "of output. Shorten the {} or lower max_tokens.",
            facts.max_model_len, prompt_tokens + least, prompt_tokens, least, prompt_field(request.api)),
        prompt_field(request.api), 0};
  }
  if (request.max_tokens) return static_cast<int32_t>(least);
  if (request.api == Api::completion) return static_cast<int32_t>(std::min<int64_t>(kCompletionTokens, room));
  // Chat without a limit: as much as the model and the KV memory allow, so that leaving the field out is
  // never what makes a request too large.
  const int64_t fits =
      int64_t{config::longest_sequence(request.compression, facts.capacity_pages).whole} - prompt_tokens;
  return static_cast<int32_t>(std::max<int64_t>(1, std::min(room, fits)));
}

}  // namespace

RequestPreparer::RequestPreparer(std::string served_model, config::CompressionSettings compression,
                                 TextTools text)
    : served_model_(std::move(served_model)), compression_(std::move(compression)), text_(text) {}

std::variant<std::vector<std::vector<int32_t>>, ApiError> RequestPreparer::tokenize(
    const GenerationRequest& request) const {
  std::vector<std::vector<int32_t>> prompts;
  const ApiError no_tokenizer{
      400, "no_tokenizer",
      "The model was loaded without a tokenizer: send prompt as a list of token ids to "
      "/v1/completions.",
      prompt_field(request.api), 0};
  if (!request.stop.empty() && text_.tokenizer == nullptr) {
    return ApiError{400, "no_tokenizer", "The model was loaded without a tokenizer: use stop_token_ids.",
                    "stop", 0};
  }
  if (request.api == Api::chat) {
    if (text_.tokenizer == nullptr) return no_tokenizer;
    auto rendered = render_chat(text_.chat_template, request.messages, request.chat_shape);
    if (auto* error = std::get_if<ApiError>(&rendered)) return std::move(*error);
    prompts.push_back(text_.tokenizer->encode(std::get<std::string>(rendered), request.add_special_tokens));
    return prompts;
  }
  for (const Prompt& prompt : request.prompts) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
      prompts.push_back(*ids);
    } else if (text_.tokenizer == nullptr) {
      return no_tokenizer;
    } else {
      prompts.push_back(text_.tokenizer->encode(std::get<std::string>(prompt), request.add_special_tokens));
    }
  }
  return prompts;
}

// As it was sent; ids as their text.
std::string RequestPreparer::echoed_text(const GenerationRequest& request, size_t prompt,
                                         const std::vector<int32_t>& ids) const {
  if (!request.echo) return {};
  if (const auto* text = std::get_if<std::string>(&request.prompts[prompt])) return *text;
  return text_.tokenizer == nullptr ? "" : text_.tokenizer->decode(ids, request.skip_special_tokens);
}

std::variant<PreparedRequest, ApiError> RequestPreparer::prepare(Api api, std::string_view body,
                                                                 const ModelFacts& facts) const {
  auto object = read_body_object(body);
  if (auto* error = std::get_if<ApiError>(&object)) return std::move(*error);
  const RequestBounds bounds{served_model_, facts.max_model_len, facts.vocab_size, compression_};
  auto read = read_generation_request(api, std::get<boost::json::object>(object), bounds);
  if (auto* error = std::get_if<ApiError>(&read)) return std::move(*error);

  PreparedRequest prepared;
  prepared.request = std::get<GenerationRequest>(std::move(read));
  auto tokens = tokenize(prepared.request);
  if (auto* error = std::get_if<ApiError>(&tokens)) return std::move(*error);
  for (auto& ids : std::get<std::vector<std::vector<int32_t>>>(tokens)) {
    if (ids.empty()) return invalid_field(prompt_field(api), "The prompt has no tokens.");
    const int32_t largest = *std::max_element(ids.begin(), ids.end());
    if (largest >= facts.vocab_size) {
      return invalid_field(prompt_field(api), fmt::format("Token {} is not in the model's vocabulary of {}.",
                                                          largest, facts.vocab_size));
    }
    const auto length = output_length(prepared.request, static_cast<int32_t>(ids.size()), facts);
    if (const auto* error = std::get_if<ApiError>(&length)) return *error;
    const int32_t max_tokens = std::get<int32_t>(length);
    if (prepared.request.min_tokens > max_tokens) {
      return invalid_field(
          "min_tokens", fmt::format("min_tokens must be an integer from 0 to max_tokens, {}.", max_tokens));
    }
    std::string text = echoed_text(prepared.request, prepared.prompts.size(), ids);
    prepared.prompts.push_back({std::move(ids), max_tokens, std::move(text)});
  }
  // Large, and nobody asks for them again.
  prepared.request.prompts = {};
  prepared.request.messages = {};
  return prepared;
}

}  // namespace batchmax::coordinator
