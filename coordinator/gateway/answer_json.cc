#include "coordinator/gateway/answer_json.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace batchmax::coordinator {
namespace {

namespace json = boost::json;

json::object frame_object(const AnswerFrame& frame, bool chunk) {
  json::object object;
  object["id"] = frame.id;
  if (frame.api == Api::chat) {
    object["object"] = chunk ? "chat.completion.chunk" : "chat.completion";
  } else {
    object["object"] = "text_completion";
  }
  object["created"] = frame.created;
  object["model"] = frame.model;
  return object;
}

void add_figures(json::object& object, const AnswerFrame& frame, const AnswerFigures& figures) {
  if (figures.usage) {
    const Usage& usage = *figures.usage;
    json::object counts;
    counts["prompt_tokens"] = usage.prompt_tokens;
    counts["completion_tokens"] = usage.completion_tokens;
    counts["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
    object["usage"] = std::move(counts);
  } else if (frame.null_usage) {
    object["usage"] = nullptr;
  }
  if (!figures.kv) return;
  json::object memory;
  memory["compression"] = config::name_of(frame.compression.mode);
  if (frame.compression.mode != config::Mode::off) memory["kv_budget"] = frame.compression.budget;
  memory["kv_bytes_reserved"] = figures.kv->bytes_reserved;
  if (figures.kv->complete) {
    memory["kv_bytes_held"] = figures.kv->bytes_held;
    memory["kv_bytes_peak"] = figures.kv->bytes_peak;
    memory["tokens_evicted"] = figures.kv->tokens_evicted;
  }
  object["batchmax"] = std::move(memory);
}

json::value logprobs_of(const AnswerFrame& frame, const std::vector<ScoredToken>& scored) {
  if (scored.empty()) return nullptr;
  return frame.api == Api::chat ? chat_logprobs(frame.tokenizer, scored)
                                : completion_logprobs(frame.tokenizer, scored);
}

json::array ids_of(const std::vector<int32_t>& tokens) { return json::array(tokens.begin(), tokens.end()); }

}  // namespace

std::string chunk_json(const AnswerFrame& frame, const Delta& delta, const AnswerFigures& figures) {
  json::object choice;
  choice["index"] = delta.choice;
  if (frame.api == Api::chat) {
    json::object message;
    if (delta.first) message["role"] = "assistant";
    // The closing chunk of a chat has an empty delta, unless text was held back.
    if (delta.first || !delta.tokens.empty() || !delta.text.empty()) message["content"] = delta.text;
    choice["delta"] = std::move(message);
  } else {
    choice["text"] = delta.text;
  }
  if (frame.tokenizer == nullptr) choice["token_ids"] = ids_of(delta.tokens);
  choice["logprobs"] = logprobs_of(frame, delta.scored);
  if (delta.finish) {
    choice["finish_reason"] = finish_word(*delta.finish);
  } else {
    choice["finish_reason"] = nullptr;
  }
  json::object object = frame_object(frame, true);
  json::array choices;
  choices.push_back(std::move(choice));
  object["choices"] = std::move(choices);
  add_figures(object, frame, figures);
  return json::serialize(object);
}

std::string closing_json(const AnswerFrame& frame, const AnswerFigures& figures) {
  json::object object = frame_object(frame, true);
  object["choices"] = json::array();
  add_figures(object, frame, figures);
  return json::serialize(object);
}

std::string whole_json(const AnswerFrame& frame, const std::vector<WholeChoice>& choices,
                       const AnswerFigures& figures) {
  json::array list;
  for (const WholeChoice& whole : choices) {
    json::object choice;
    choice["index"] = list.size();
    if (frame.api == Api::chat) {
      json::object message;
      message["role"] = "assistant";
      message["content"] = whole.text;
      choice["message"] = std::move(message);
    } else {
      choice["text"] = whole.text;
    }
    if (frame.tokenizer == nullptr) choice["token_ids"] = ids_of(whole.tokens);
    choice["logprobs"] = logprobs_of(frame, whole.scored);
    choice["finish_reason"] = finish_word(whole.finish);
    list.push_back(std::move(choice));
  }
  json::object object = frame_object(frame, false);
  object["choices"] = std::move(list);
  add_figures(object, frame, figures);
  return json::serialize(object);
}

}  // namespace batchmax::coordinator
