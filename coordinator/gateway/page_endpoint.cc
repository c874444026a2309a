#include "coordinator/gateway/page_endpoint.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

// Trusted types: not even a mistake of ours makes markup or script out of text that came over the network.
constexpr const char* kContentPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

int64_t whole(double figure) { return static_cast<int64_t>(figure); }

json::object group_json(const GroupStatus& group, uint64_t page_bytes) {
  json::object object;
  object["name"] = group.name;
  object["epoch"] = group.epoch;
  object["connected"] = group.connected;
  object["healthy"] = group.healthy;
  object["requests_served"] = group.requests_served;
  const monitoring::GroupFigures& figures = group.figures;
  const auto bytes = static_cast<double>(page_bytes);
  object["kv_bytes_total"] = whole(figures.pages_total * bytes);
  object["kv_bytes_reserved"] = whole(figures.pages_reserved * bytes);
  object["kv_bytes_held"] = whole(figures.kv_bytes_held);
  object["kv_bytes_full_attention"] = whole(figures.kv_bytes_full_attention);
  object["sequences_running"] = whole(figures.sequences_running);
  object["sequences_prefill"] = whole(figures.sequences_prefill);
  object["prompt_tokens_total"] = whole(figures.prompt_tokens_total);
  object["generation_tokens_total"] = whole(figures.generation_tokens_total);
  object["tokens_evicted_total"] = whole(figures.evicted_prefill_total + figures.evicted_decode_total);
  return object;
}

json::object request_json(const RecentRequest& request) {
  json::object object;
  object["id"] = request.id;
  object["api"] = request.api == Api::chat ? "chat" : "completion";
  object["stream"] = request.stream;
  object["outcome"] = request.outcome;
  object["compression"] = config::name_of(request.compression.mode);
  object["kv_budget"] = request.compression.budget;
  object["ended_ms"] = request.ended_ms;
  object["seconds"] = request.seconds;
  object["first_token_seconds"] = nullptr;
  if (request.first_token_seconds) object["first_token_seconds"] = *request.first_token_seconds;
  object["prompt_tokens"] = request.usage.prompt_tokens;
  object["completion_tokens"] = request.usage.completion_tokens;
  // A request that ended before its group had reported has no figures.
  const bool complete = request.figures.complete && request.figures.bytes_held > 0;
  object["kv_bytes_held"] = nullptr;
  object["tokens_evicted"] = nullptr;
  if (complete) object["kv_bytes_held"] = request.figures.bytes_held;
  if (complete) object["tokens_evicted"] = request.figures.tokens_evicted;
  return object;
}

}  // namespace

PageEndpoint::PageEndpoint(const TokenBackend& backend, const RequestPreparer& preparer,
                           const config::CompressionSettings& compression, const RecentRequests& recent,
                           std::string version)
    : backend_(backend),
      preparer_(preparer),
      compression_(compression),
      recent_(recent),
      version_(std::move(version)) {}

asio::awaitable<void> PageEndpoint::file(const PageFile& file, Reply& reply) {
  HttpAnswer answer;
  answer.content_type = std::string(file.content_type);
  answer.body = std::string(file.bytes);
  answer.fields.emplace_back("Content-Security-Policy", kContentPolicy);
  answer.fields.emplace_back("X-Content-Type-Options", "nosniff");
  answer.fields.emplace_back("Referrer-Policy", "no-referrer");
  answer.fields.emplace_back("Cache-Control", "no-cache");  // files of one version only, after an upgrade too
  co_await reply.send(std::move(answer));
}

asio::awaitable<void> PageEndpoint::status(Reply& reply) {
  const ModelFacts facts = backend_.model().value_or(ModelFacts{});
  json::object object;
  object["version"] = version_;
  object["model"] = preparer_.served_model();
  object["chat"] = preparer_.text().chat_template != nullptr;
  object["max_model_len"] = facts.max_model_len;  // 0: no group has joined yet
  object["kv_bytes_per_token"] = facts.kv_bytes_per_slot;
  object["compression"] = config::name_of(compression_.mode);
  object["kv_budget"] = compression_.budget;
  object["requests_waiting"] = backend_.requests_waiting();
  json::array groups;
  for (const GroupStatus& group : backend_.groups()) {
    groups.push_back(group_json(group, facts.kv_bytes_per_slot * config::kPageSlots));
  }
  object["groups"] = std::move(groups);
  json::array recent;
  for (const RecentRequest& request : recent_.newest()) recent.push_back(request_json(request));
  object["recent_requests"] = std::move(recent);
  HttpAnswer answer;
  answer.body = json::serialize(object);
  answer.fields.emplace_back("Cache-Control", "no-store");
  co_await reply.send(std::move(answer));
}

}  // namespace batchmax::coordinator
