#include "coordinator/gateway/unsupported_fields.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

namespace batchmax::coordinator {
namespace {

using boost::json::value;

bool is_number(const value& given, double wanted) {
  return given.is_number() && given.to_number<double>() == wanted;
}
bool never(const value&) { return false; }
bool zero(const value& given) { return is_number(given, 0); }
bool one(const value& given) { return is_number(given, 1); }
bool no(const value& given) { return given.is_bool() && !given.get_bool(); }
bool yes(const value& given) { return given.is_bool() && given.get_bool(); }
bool any_boolean(const value& given) { return given.is_bool(); }
bool empty_text(const value& given) { return given.is_string() && given.get_string().empty(); }
bool empty_list(const value& given) { return given.is_array() && given.get_array().empty(); }
bool empty_object(const value& given) { return given.is_object() && given.get_object().empty(); }
bool no_tool(const value& given) {
  return given.is_string() && (given.get_string() == "none" || given.get_string() == "auto");
}
bool no_reasoning(const value& given) { return given.is_string() && given.get_string() == "none"; }
bool medium(const value& given) { return given.is_string() && given.get_string() == "medium"; }
bool usual_tier(const value& given) {
  return given.is_string() && (given.get_string() == "auto" || given.get_string() == "default");
}
bool plain_text(const value& given) {
  if (!given.is_object()) return false;
  const value* type = given.get_object().if_contains("type");
  return type != nullptr && type->is_string() && type->get_string() == "text";
}
bool text_only(const value& given) {
  return given.is_array() && given.get_array().size() == 1 && given.get_array()[0] == "text";
}

enum class Of : uint8_t { both, completion, chat };

struct Row {
  const char* field;
  bool (*neutral)(const value&);
  const char* neutral_value;  // for the message
  Of of = Of::both;           // the other API acts on it
};
constexpr Row kRows[] = {
    {"best_of", one, "1"},
    {"top_logprobs", zero, "0", Of::completion},
    {"prompt_logprobs", no, "null"},
    {"echo", no, "false", Of::chat},
    {"suffix", empty_text, "\"\""},
    {"length_penalty", one, "1"},
    {"use_beam_search", no, "false"},
    {"include_stop_str_in_output", no, "false"},
    {"bad_words", empty_list, "[]"},
    {"allowed_token_ids", never, "null"},
    {"truncate_prompt_tokens", never, "null"},
    {"return_token_ids", no, "false"},
    {"return_tokens_as_token_ids", no, "false"},
    {"tools", empty_list, "[]"},
    {"tool_choice", no_tool, "\"none\""},
    {"parallel_tool_calls", any_boolean, "null"},  // without tools it says nothing
    {"functions", empty_list, "[]"},
    {"function_call", no_tool, "\"none\""},
    {"response_format", plain_text, "{\"type\": \"text\"}"},
    {"structured_outputs", never, "null"},
    {"guided_json", never, "null"},
    {"guided_regex", never, "null"},
    {"guided_choice", never, "null"},
    {"guided_grammar", never, "null"},
    {"regex", never, "null"},
    {"json_schema", never, "null"},
    {"ebnf", never, "null"},
    {"grammar", never, "null"},
    {"logits_processors", empty_list, "[]"},
    {"modalities", text_only, "[\"text\"]"},
    {"audio", never, "null"},
    {"prediction", never, "null"},
    {"web_search_options", never, "null"},
    {"moderation", never, "null"},
    {"reasoning_effort", no_reasoning, "\"none\""},
    {"verbosity", medium, "\"medium\""},
    {"service_tier", usual_tier, "\"auto\""},
    {"store", no, "false"},
    {"add_generation_prompt", yes, "true", Of::completion},
    {"continue_final_message", no, "false", Of::completion},
    {"chat_template", never, "null"},
    {"chat_template_kwargs", empty_object, "{}"},
    {"documents", empty_list, "[]"},
};

}  // namespace

void refuse_unsupported_fields(FieldReader& fields, Api api) {
  const Of other = api == Api::chat ? Of::completion : Of::chat;
  for (const Row& row : kRows) {
    if (row.of == other) continue;
    const value* given = fields.find(row.field);
    if (given == nullptr || row.neutral(*given)) continue;
    fields.fail(
        {400, "unsupported_field",
         fmt::format("{} is not supported here: leave it out or set it to {}.", row.field, row.neutral_value),
         row.field, 0});
  }
}

}  // namespace batchmax::coordinator
