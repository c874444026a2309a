#include "coordinator/gateway/service_endpoints.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "coordinator/gateway/chat_messages.h"
#include "coordinator/gateway/chat_prompt.h"
#include "coordinator/gateway/field_reader.h"
#include "coordinator/gateway/generation_request.h"
#include "coordinator/gateway/unsupported_fields.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

// /health makes a round trip through every rank; a group that needs longer is not healthy.
constexpr std::chrono::milliseconds kHealthTimeout{3000};
constexpr size_t kMaxIds = 1 << 20;

HttpAnswer json_answer(const json::object& object, int status = 200) {
  HttpAnswer answer;
  answer.status = status;
  answer.body = json::serialize(object);
  return answer;
}

HttpAnswer status_answer(bool good, const char* yes, const char* no) {
  json::object object;
  object["status"] = good ? yes : no;
  return json_answer(object, good ? 200 : 503);
}

ApiError no_tokenizer() { return {400, "no_tokenizer", "The model was loaded without a tokenizer.", "", 0}; }

void add_max_model_len(json::object& object, const std::optional<ModelFacts>& facts) {
  if (facts) {
    object["max_model_len"] = facts->max_model_len;
  } else {
    object["max_model_len"] = nullptr;
  }
}

// The text that /tokenize is asked about: prompt, or messages.
std::string read_text(FieldReader& fields, size_t body_bytes, const RequestPreparer& preparer) {
  if (fields.find("messages") == nullptr) {
    const auto prompt = fields.text("prompt", body_bytes);
    if (!prompt) fields.fail("prompt", "prompt must be a string, or messages a list of messages.");
    return prompt.value_or("");
  }
  if (fields.find("prompt") != nullptr) fields.fail("prompt", "prompt and messages exclude each other.");
  json::array messages;
  read_messages(fields, messages);
  const ChatShape shape = read_chat_shape(fields);
  // The prompt of a chat that would be refused has no ids.
  refuse_unsupported_fields(fields, Api::chat);
  if (fields.error()) return {};
  auto rendered = render_chat(preparer.text().chat_template, messages, shape);
  if (auto* error = std::get_if<ApiError>(&rendered)) {
    fields.fail(std::move(*error));
    return {};
  }
  return std::get<std::string>(std::move(rendered));
}

HttpAnswer tokenize_body(std::string_view body, const RequestPreparer& preparer,
                         const std::optional<ModelFacts>& facts) {
  auto read = read_body_object(body);
  if (const auto* error = std::get_if<ApiError>(&read)) return error_answer(*error);
  const auto& object = std::get<json::object>(read);
  FieldReader fields(object);
  check_model(fields, preparer.served_model());
  const std::string text = read_text(fields, body.size(), preparer);
  // A chat template has spelled them out.
  const bool chat = fields.find("messages") != nullptr;
  const bool special = fields.boolean("add_special_tokens").value_or(!chat);
  const bool spelled = fields.boolean("return_token_strs").value_or(false);
  if (fields.error()) return error_answer(*fields.error());
  const Tokenizer* tokenizer = preparer.text().tokenizer;
  if (tokenizer == nullptr) return error_answer(no_tokenizer());
  const auto ids = tokenizer->encode(text, special);
  json::object made;
  made["tokens"] = json::array(ids.begin(), ids.end());
  if (spelled) {
    json::array& tokens = made["token_strs"].emplace_array();
    for (const int32_t id : ids) tokens.emplace_back(tokenizer->token(id));
  }
  made["count"] = ids.size();
  add_max_model_len(made, facts);
  return json_answer(made);
}

HttpAnswer detokenize_body(std::string_view body, const RequestPreparer& preparer,
                           const std::optional<ModelFacts>& facts) {
  auto read = read_body_object(body);
  if (const auto* error = std::get_if<ApiError>(&read)) return error_answer(*error);
  const auto& object = std::get<json::object>(read);
  FieldReader fields(object);
  check_model(fields, preparer.served_model());
  const Tokenizer* tokenizer = preparer.text().tokenizer;
  if (fields.error() || tokenizer == nullptr)
    return error_answer(fields.error() ? *fields.error() : no_tokenizer());
  // Models are often wider than their tokenizer: what they may draw there has no text.
  const int32_t vocabulary = std::max(tokenizer->vocab_size(), facts ? facts->vocab_size : 0);
  const auto ids = fields.integers("tokens", kMaxIds, 0, vocabulary - 1);
  if (!ids) fields.fail("tokens", "tokens must be a list of token ids.");
  if (fields.error()) return error_answer(*fields.error());
  json::object made;
  made["prompt"] = tokenizer->decode(*ids, false);
  return json_answer(made);
}

}  // namespace

ServiceEndpoints::ServiceEndpoints(TokenBackend& backend, const RequestPreparer& preparer, WorkPool& pool,
                                   monitoring::Metrics& metrics, std::string version)
    : backend_(backend),
      preparer_(preparer),
      pool_(pool),
      metrics_(metrics),
      version_(std::move(version)),
      started_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()) {}

json::object ServiceEndpoints::described_model() const {
  json::object model;
  model["id"] = preparer_.served_model();
  model["object"] = "model";
  model["created"] = started_;
  model["owned_by"] = "batchmax";
  add_max_model_len(model, backend_.model());
  return model;
}

asio::awaitable<void> ServiceEndpoints::models(Reply& reply) {
  json::object list;
  list["object"] = "list";
  json::array data;
  data.push_back(described_model());
  list["data"] = std::move(data);
  HttpAnswer answer = json_answer(list);
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::model(Reply& reply) {
  HttpAnswer answer = json_answer(described_model());
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::tokenizer_info(Reply& reply) {
  const TextTools& text = preparer_.text();
  HttpAnswer answer;
  if (text.tokenizer == nullptr) {
    const ApiError none = no_tokenizer();
    answer = error_answer(none);
  } else {
    json::object object;
    object["tokenizer_class"] = text.facts == nullptr ? "" : text.facts->tokenizer_class;
    object["vocab_size"] = text.tokenizer->vocab_size();
    add_max_model_len(object, backend_.model());
    for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token"}) object[role] = nullptr;
    object["chat_template"] = nullptr;
    if (text.facts != nullptr) {
      for (const auto& [role, token] : text.facts->special_tokens) object[role] = token;
      if (!text.facts->chat_template.empty()) object["chat_template"] = text.facts->chat_template;
    }
    answer = json_answer(object);
  }
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::tokenize(const HttpRequest& request, Reply& reply) {
  const auto facts = backend_.model();
  auto work = [&] { return tokenize_body(request.body, preparer_, facts); };
  HttpAnswer answer = co_await pool_.run(std::move(work));
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::detokenize(const HttpRequest& request, Reply& reply) {
  const auto facts = backend_.model();
  auto work = [&] { return detokenize_body(request.body, preparer_, facts); };
  HttpAnswer answer = co_await pool_.run(std::move(work));
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::health(Reply& reply) {
  const bool healthy = co_await backend_.health(kHealthTimeout);
  HttpAnswer answer = status_answer(healthy, "ok", "no group answers");
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::live(Reply& reply) {
  HttpAnswer answer = status_answer(true, "ok", "");
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::ready(Reply& reply) {
  const bool good = !draining_ && backend_.healthy_groups() > 0;
  HttpAnswer answer = status_answer(good, "ok", draining_ ? "shutting down" : "no group is ready");
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::version(Reply& reply) {
  json::object object;
  object["version"] = version_;
  HttpAnswer answer = json_answer(object);
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> ServiceEndpoints::metrics(Reply& reply) {
  HttpAnswer answer;
  answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
  answer.body = metrics_.text();
  co_await reply.send(std::move(answer));
}

}  // namespace batchmax::coordinator
