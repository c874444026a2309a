#include "coordinator/gateway/generation_request.h"

#include <fmt/format.h>

#include <boost/json/value.hpp>
#include <stdexcept>

#include "coordinator/gateway/chat_messages.h"
#include "coordinator/gateway/field_reader.h"
#include "coordinator/gateway/sampling_fields.h"
#include "coordinator/gateway/unsupported_fields.h"
#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {
namespace {

constexpr size_t kMaxPrompts = 128;
constexpr int64_t kMaxChoices = 16;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxStopIds = 1024;
constexpr size_t kMaxNameBytes = 1024;

void read_prompts(FieldReader& fields, const RequestBounds& bounds, std::vector<Prompt>& prompts) {
  const boost::json::value* value = fields.find("prompt");
  if (fields.error()) return;
  const auto wrong = [&] {
    fields.fail(
        "prompt",
        fmt::format("prompt must be a string, a list of token ids from 0 to {}, or a list of 1 to {} of "
                    "one kind of them.",
                    bounds.vocab_size - 1, kMaxPrompts));
  };
  if (value == nullptr) return wrong();
  if (value->is_string()) {
    prompts.emplace_back(std::string(value->get_string()));
    return;
  }
  if (!value->is_array() || value->get_array().empty()) return wrong();
  const boost::json::array& list = value->get_array();
  const int32_t last_id = bounds.vocab_size - 1;
  if (list[0].is_number()) {
    auto ids = as_ids(list, 0, last_id);
    if (!ids) return wrong();
    prompts.emplace_back(std::move(*ids));
    return;
  }
  if (list.size() > kMaxPrompts) return wrong();
  for (const boost::json::value& item : list) {
    if (item.is_string() && list[0].is_string()) {
      prompts.emplace_back(std::string(item.get_string()));
    } else if (item.is_array() && list[0].is_array() && !item.get_array().empty()) {
      auto ids = as_ids(item.get_array(), 0, last_id);
      if (!ids) return wrong();
      prompts.emplace_back(std::move(*ids));
    } else {
      return wrong();
    }
  }
}

void read_stop(FieldReader& fields, std::vector<std::string>& stop) {
  const boost::json::value* value = fields.find("stop");
  if (value == nullptr) return;
  if (value->is_string()) {
    stop.emplace_back(value->get_string());
  } else if (value->is_array()) {
    for (const boost::json::value& item : value->get_array()) {
      if (!item.is_string()) return fields.fail("stop", "stop must be a string or a list of strings.");
      stop.emplace_back(item.get_string());
    }
  } else {
    return fields.fail("stop", "stop must be a string or a list of strings.");
  }
  bool fits = stop.size() <= kMaxStops;
  for (const std::string& one : stop) fits = fits && !one.empty() && one.size() <= kMaxStopBytes;
  if (!fits)
    fields.fail("stop",
                fmt::format("stop takes at most {} strings of 1 to {} bytes.", kMaxStops, kMaxStopBytes));
}

// One that is too small is left to config::resolve(), which says why.
std::optional<int32_t> read_budget(FieldReader& fields, const RequestBounds& bounds, config::Mode mode) {
  const boost::json::value* value = fields.find("kv_budget");
  if (value == nullptr) return std::nullopt;
  const bool any = mode == config::Mode::off;
  const auto asked = as_integer(*value);
  if (asked && *asked >= (any ? 1 : INT32_MIN) && *asked <= bounds.max_model_len)
    return static_cast<int32_t>(*asked);
  const int32_t least = any ? 1 : config::least_own_budget(bounds.compression, mode);
  fields.fail("kv_budget",
              fmt::format("kv_budget must be an integer from {} to {}.", least, bounds.max_model_len));
  return std::nullopt;
}

void read_compression(FieldReader& fields, const RequestBounds& bounds, config::Compression& compression) {
  std::optional<config::Mode> mode;
  if (const auto name = fields.text("compression", kMaxNameBytes)) {
    mode = config::mode_from_name(*name);
    if (!mode) return fields.fail("compression", "compression must be off, decode or full.");
  }
  const auto budget = read_budget(fields, bounds, mode.value_or(bounds.compression.mode));
  if (fields.error()) return;
  auto resolved = config::resolve(bounds.compression, budget, mode);
  if (const auto* too_small = std::get_if<config::BudgetTooSmall>(&resolved)) {
    return fields.fail("kv_budget", too_small->message);
  }
  compression = std::get<config::Compression>(resolved);
}

void read_stream(FieldReader& fields, GenerationRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const boost::json::value* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.fail("stream_options", "stream_options must be an object.");
  if (!request.stream) return fields.fail("stream_options", "stream_options needs \"stream\": true.");
  FieldReader inner(options->get_object());
  request.include_usage = inner.boolean("include_usage").value_or(false);
  request.continuous_usage = inner.boolean("continuous_usage_stats").value_or(false);
  if (inner.error()) fields.fail("stream_options", "stream_options: " + inner.error()->message);
}

// least: 0 where the answer may be the prompt alone.
std::optional<int32_t> read_max_tokens(FieldReader& fields, int32_t least) {
  // Ranges end at what a length can be at all; whether it fits the model is said with the prompt's length
  // known.
  const auto old_name = fields.integer("max_tokens", least, INT32_MAX);
  const auto new_name = fields.integer("max_completion_tokens", least, INT32_MAX);
  const auto chosen = new_name ? new_name : old_name;
  if (!chosen) return std::nullopt;
  return static_cast<int32_t>(*chosen);
}

}  // namespace

std::variant<boost::json::object, ApiError> read_body_object(std::string_view body) {
  try {
    boost::json::value value = parse_json(body, "request body");
    if (value.is_object()) return std::move(value.get_object());
    return ApiError{400, "invalid_json", "The request body must be a JSON object.", "", 0};
  } catch (const std::runtime_error& error) {
    return ApiError{400, "invalid_json", error.what(), "", 0};
  }
}

ChatShape read_chat_shape(FieldReader& fields) {
  ChatShape shape;
  shape.continue_final_message = fields.boolean("continue_final_message").value_or(false);
  shape.add_generation_prompt =
      fields.boolean("add_generation_prompt").value_or(!shape.continue_final_message);
  if (shape.continue_final_message && shape.add_generation_prompt) {
    fields.fail("continue_final_message",
                "continue_final_message and add_generation_prompt exclude each other: set one of them.");
  }
  return shape;
}

void check_model(FieldReader& fields, const std::string& served_model) {
  const auto name = fields.text("model", kMaxNameBytes);
  if (!name || *name == served_model) return;
  fields.fail({404, "model_not_found",
               fmt::format("There is no model {}; this server has {}.", *name, served_model), "model", 0});
}

std::variant<GenerationRequest, ApiError> read_generation_request(Api api, const boost::json::object& body,
                                                                  const RequestBounds& bounds) {
  FieldReader fields(body);
  GenerationRequest request;
  request.api = api;
  check_model(fields, bounds.served_model);
  if (api == Api::completion) {
    read_prompts(fields, bounds, request.prompts);
  } else {
    read_messages(fields, request.messages);
    request.chat_shape = read_chat_shape(fields);
  }
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(api == Api::completion);
  request.n = static_cast<int32_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  read_logprobs(fields, request);
  request.max_tokens = read_max_tokens(fields, request.echo ? 0 : 1);
  read_sampling(fields, request);
  read_logit_bias(fields, bounds.vocab_size, request.logit_bias);
  read_stop(fields, request.stop);
  request.stop_token_ids = fields.integers("stop_token_ids", kMaxStopIds, 0, bounds.vocab_size - 1)
                               .value_or(std::vector<int32_t>());
  request.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  request.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  read_stream(fields, request);
  fields.text("user", kMaxNameBytes);
  fields.integer("priority", INT32_MIN, INT32_MAX);  // first come, first served: accepted, not acted on
  read_compression(fields, bounds, request.compression);
  refuse_unsupported_fields(fields, api);
  if (fields.error()) return *fields.error();
  request.unknown_fields = fields.unread();
  return request;
}

}  // namespace batchmax::coordinator
