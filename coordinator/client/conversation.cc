#include "coordinator/client/conversation.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "coordinator/client/api_client.h"

namespace batchmax::coordinator {
namespace {

namespace json = boost::json;

json::object message(std::string_view role, std::string_view content) {
  json::object object;
  object["role"] = json::string_view(role.data(), role.size());
  object["content"] = json::string_view(content.data(), content.size());
  return object;
}

std::string text_at(const json::value& value, const char* pointer) {
  boost::system::error_code error;
  const json::value* found = value.find_pointer(pointer, error);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::optional<int64_t> count_at(const json::value& value, const char* pointer) {
  boost::system::error_code error;
  const json::value* found = value.find_pointer(pointer, error);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  const auto count = found->to_number<int64_t>(error);
  return error ? std::nullopt : std::optional(count);
}

}  // namespace

Conversation::Conversation(ChatFlags flags, std::string model, std::string document)
    : flags_(std::move(flags)), model_(std::move(model)), document_(std::move(document)) {}

std::string Conversation::user_text(size_t turn, std::string_view question) const {
  if (turn > 0 || document_.empty()) return std::string(question);
  if (question.empty()) return document_;
  std::string text = document_;
  while (text.ends_with('\n')) text.pop_back();
  return text.append("\n\n").append(question);
}

std::string Conversation::request(std::string_view question) const {
  json::array messages;
  if (!flags_.system.empty()) messages.push_back(message("system", flags_.system));
  for (size_t i = 0; i < turns_.size(); ++i) {
    messages.push_back(message("user", user_text(i, turns_[i].question)));
    messages.push_back(message("assistant", turns_[i].answer));
  }
  messages.push_back(message("user", user_text(turns_.size(), question)));
  json::object body;
  body["model"] = model_;
  body["messages"] = std::move(messages);
  body["stream"] = true;
  body["stream_options"] = json::object{{"include_usage", true}};
  if (flags_.max_tokens) body["max_tokens"] = *flags_.max_tokens;
  if (flags_.temperature) body["temperature"] = *flags_.temperature;
  if (flags_.kv_budget) body["kv_budget"] = *flags_.kv_budget;
  if (!flags_.compression.empty()) body["compression"] = flags_.compression;
  return json::serialize(body);
}

void Conversation::add(std::string_view question, std::string answer) {
  turns_.push_back({std::string(question), std::move(answer)});
}

AnswerPiece parse_piece(std::string_view event) {
  boost::system::error_code error;
  const json::value value = json::parse({event.data(), event.size()}, error);
  if (error) throw ClientError("the server sends an event that is no JSON: " + error.message());
  AnswerPiece piece;
  piece.has_choice = value.find_pointer("/choices/0", error) != nullptr;
  piece.text = text_at(value, "/choices/0/delta/content");
  if (piece.text.empty()) piece.text = text_at(value, "/choices/0/text");
  piece.finish_reason = text_at(value, "/choices/0/finish_reason");
  piece.prompt_tokens = count_at(value, "/usage/prompt_tokens");
  piece.completion_tokens = count_at(value, "/usage/completion_tokens");
  piece.kv_bytes_peak = count_at(value, "/batchmax/kv_bytes_peak");
  piece.tokens_evicted = count_at(value, "/batchmax/tokens_evicted");
  return piece;
}

}  // namespace batchmax::coordinator
