#include "coordinator/gateway/generation_endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <limits>

#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

constexpr size_t kUnknownNames = 256;
constexpr auto kForever = std::chrono::hours(24 * 365);

std::string event(const std::string& json) { return "data: " + json + "\n\n"; }

// Takes a stream off the list of those that run, whichever way its coroutine ends.
class Listed {
 public:
  Listed(std::list<TokenStream*>& list, TokenStream* stream)
      : list_(list), at_(list.insert(list.end(), stream)) {}
  ~Listed() { list_.erase(at_); }
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

 private:
  std::list<TokenStream*>& list_;
  std::list<TokenStream*>::iterator at_;
};

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

GenerationEndpoint::GenerationEndpoint(Parts parts) : parts_(std::move(parts)) {}

void GenerationEndpoint::shut_down(const std::string& reason) {
  shut_down_ = reason;
  for (TokenStream* stream : running_) stream->fail(reason);
}

void GenerationEndpoint::note_unknown_fields(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (unknown_seen_.size() >= kUnknownNames) return;
    const std::string shown = name.substr(0, 64);
    if (unknown_seen_.insert(shown).second) {
      parts_.log.info("unknown request field ignored; said once per field", {{"field", shown}});
    }
  }
}

std::variant<GenerationEndpoint::Sources, ApiError> GenerationEndpoint::submit(
    const PreparedRequest& prepared, const ModelFacts& facts) {
  const GenerationRequest& asked = prepared.request;
  Sources sources;
  for (const auto& prompt : prepared.prompts) {
    TokenRequest request;
    request.tokens = prompt.tokens;
    request.max_tokens = prompt.max_tokens;
    request.min_tokens = asked.min_tokens;
    request.compression = asked.compression;
    request.sampling = asked.sampling;
    // Drawn here, so that a replay on another group draws the same numbers.
    if (!asked.has_seed) request.sampling.seed = parts_.random.number();
    request.stop_ids = asked.stop_token_ids;
    if (!asked.ignore_eos) {
      request.stop_ids.insert(request.stop_ids.end(), facts.eos_ids.begin(), facts.eos_ids.end());
    }
    request.logit_bias = asked.logit_bias;
    request.logprobs = asked.logprobs;
    request.prompt_logprobs = asked.echo && asked.logprobs >= 0;
    for (int32_t choice = 0; choice < asked.n; ++choice) {
      request.sampling.choice = choice;
      auto taken = parts_.backend.submit(request);
      if (const auto* rejection = std::get_if<Rejection>(&taken))
        return not_taken(*rejection, prepared, facts);
      sources.push_back(std::get<std::unique_ptr<TokenSource>>(std::move(taken)));
    }
  }
  return sources;
}

ApiError GenerationEndpoint::not_taken(const Rejection& rejection, const PreparedRequest& prepared,
                                       const ModelFacts& facts) {
  if (rejection.kind != Rejection::Kind::queue_full) return error_of(rejection, retry_after());
  const config::Settings& settings = parts_.settings;
  int32_t pages = std::numeric_limits<int32_t>::max();
  for (const auto& prompt : prepared.prompts) {
    const auto length = static_cast<int32_t>(prompt.tokens.size());
    pages =
        std::min(pages, config::reservation(prepared.request.compression, length, prompt.max_tokens).pages);
  }
  // Groups that are away for the moment come back.
  const int32_t groups = std::max({1, settings.groups, parts_.backend.healthy_groups()});
  const int64_t running = int64_t{groups} * std::min(settings.max_num_seqs, facts.capacity_pages / pages);
  const int64_t most = running + settings.max_num_queued_reqs;
  const int64_t choices = static_cast<int64_t>(prepared.prompts.size()) * prepared.request.n;
  if (choices <= most) return error_of(rejection, retry_after());
  return invalid_field(
      prepared.request.n > 1 ? "n" : "prompt",
      fmt::format("This request asks for {} choices, n for each prompt; at most {} can run and "
                  "wait here at once. Send fewer prompts or a smaller n.",
                  choices, most));
}

asio::awaitable<void> GenerationEndpoint::serve(Api api, HttpRequest& request, Reply& reply) {
  const auto facts = parts_.backend.model();
  if (!facts || shut_down_) {
    ApiError error{503, shut_down_ ? "draining" : "no_group",
                   shut_down_ ? *shut_down_ : "No group is ready yet: the model is still being loaded.", "",
                   retry_after()};
    HttpAnswer answer = error_answer(error);
    co_await reply.send(std::move(answer));
    co_return;
  }
  auto prepare = [&] { return parts_.preparer.prepare(api, request.body, *facts); };
  auto outcome = co_await parts_.pool.run(std::move(prepare));
  request.drop_body();
  if (const auto* error = std::get_if<ApiError>(&outcome)) {
    HttpAnswer answer = error_answer(*error);
    co_await reply.send(std::move(answer));
    co_return;
  }
  const auto& prepared = std::get<PreparedRequest>(outcome);
  note_unknown_fields(prepared.request.unknown_fields);
  auto submitted = submit(prepared, *facts);
  if (const auto* error = std::get_if<ApiError>(&submitted)) {
    HttpAnswer answer = error_answer(*error);
    co_await reply.send(std::move(answer));
    co_return;
  }

  TokenStream tokens(parts_.executor, std::get<Sources>(std::move(submitted)),
                     static_cast<size_t>(parts_.settings.stream_buffer_events));
  const Listed listed(running_, &tokens);
  const Tokenizer* tokenizer = parts_.preparer.text().tokenizer;
  GenerationRun run(prepared, *facts, tokenizer, tokens);
  const RequestNote note(parts_.recent, run, prepared.request, reply.request_id());
  AnswerFrame frame;
  frame.api = api;
  frame.id = (api == Api::chat ? "chatcmpl-" : "cmpl-") + parts_.random.id();
  frame.created = unix_seconds();
  frame.model = parts_.preparer.served_model();
  frame.compression = prepared.request.compression;
  frame.tokenizer = tokenizer;
  if (prepared.request.stream) {
    co_await stream(run, std::move(frame), prepared.request, reply);
  } else {
    co_await whole(run, std::move(frame), reply);
  }
  parts_.log.info("generation", {{"request_id", reply.request_id()},
                                 {"prompt_tokens", run.usage().prompt_tokens},
                                 {"completion_tokens", run.usage().completion_tokens},
                                 {"stream", prepared.request.stream},
                                 {"ok", !run.error().has_value()}});
}

ApiError GenerationEndpoint::failure(const GenerationRun& run) const {
  if (shut_down_) return {503, "draining", *shut_down_, "", 0};
  return {500, "generation_failed", *run.error(), "", 0};
}

asio::awaitable<void> GenerationEndpoint::stream(GenerationRun& run, AnswerFrame frame,
                                                 const GenerationRequest& request, Reply& reply) {
  frame.null_usage = request.include_usage;
  const auto ping =
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(Seconds(parts_.settings.ping_interval));
  const auto most_bytes = static_cast<size_t>(parts_.settings.stream_buffer_bytes);
  const auto most_events = static_cast<size_t>(parts_.settings.stream_buffer_events);
  co_await reply.begin_stream("text/event-stream; charset=utf-8");
  std::string bytes;
  while (!run.done()) {
    const std::vector<Delta> deltas = co_await run.next(ping, most_events);
    if (deltas.empty() && !run.done()) co_await reply.write(": ping\n\n");
    for (const Delta& delta : deltas) {
      AnswerFigures figures;
      if (request.continuous_usage) figures.usage = Usage{run.usage().prompt_tokens, delta.completion_tokens};
      const bool last = run.done() && !run.error() && &delta == &deltas.back();
      if (last && !request.include_usage) figures.kv = run.figures();
      const auto work = [&] { return chunk_json(frame, delta, figures); };
      if (delta.scored.size() > 1) {
        const std::string echo = co_await parts_.pool.run(work);
        bytes += event(echo);
      } else {
        bytes += event(work());
      }
      if (bytes.size() < most_bytes) continue;
      co_await reply.write(bytes);
      bytes.clear();
    }
    if (run.done()) break;
    co_await reply.write(bytes);
    bytes.clear();
  }
  if (run.error()) {
    // No [DONE]: nobody shall take this for a whole answer.
    bytes += event(error_json(failure(run)));
    reply.close_after();
  } else {
    if (request.include_usage) {
      AnswerFigures figures{run.usage(), run.figures()};
      bytes += event(closing_json(frame, figures));
    }
    bytes += event("[DONE]");
  }
  co_await reply.write(bytes);
  co_await reply.end();
}

asio::awaitable<void> GenerationEndpoint::whole(GenerationRun& run, AnswerFrame frame, Reply& reply) {
  std::vector<WholeChoice> made(run.choices());
  while (!run.done()) {
    std::vector<Delta> deltas = co_await run.next(kForever, 4096);
    for (Delta& delta : deltas) {
      WholeChoice& choice = made[delta.choice];
      choice.text += delta.text;
      if (frame.tokenizer == nullptr)
        choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
      std::move(delta.scored.begin(), delta.scored.end(), std::back_inserter(choice.scored));
      if (delta.finish) choice.finish = *delta.finish;
    }
  }
  HttpAnswer answer;
  if (run.error()) {
    answer = error_answer(failure(run));
  } else {
    const auto work = [&] { return whole_json(frame, made, {run.usage(), run.figures()}); };
    const bool large = !made.front().scored.empty();  // those of a long prompt make megabytes
    if (large) {
      answer.body = co_await parts_.pool.run(work);
    } else {
      answer.body = work();
    }
  }
  co_await reply.send(std::move(answer));
}

}  // namespace batchmax::coordinator
