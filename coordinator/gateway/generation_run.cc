#include "coordinator/gateway/generation_run.h"

#include "config/kv_reservation.h"
#include "monitoring/check.h"

namespace batchmax::coordinator {
const char* finish_word(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::abort:
      return "abort";
    case FinishReason::error:
      return "error";
  }
  return "?";
}

GenerationRun::GenerationRun(const PreparedRequest& prepared, const ModelFacts& facts,
                             const Tokenizer* tokenizer, TokenStream& tokens)
    : tokens_(tokens), open_(prepared.prompts.size()) {
  const GenerationRequest& request = prepared.request;
  for (const auto& prompt : prepared.prompts) {
    choices_.push_back({ChoiceText(tokenizer, request.stop), 0, true});
    const auto length = static_cast<int32_t>(prompt.tokens.size());
    prompt_tokens_ += length;
    const auto pages = config::reservation(request.compression, length, prompt.max_tokens).pages;
    figures_.bytes_reserved += static_cast<uint64_t>(pages) * config::kPageSlots * facts.kv_bytes_per_slot;
  }
}

boost::asio::awaitable<std::vector<Delta>> GenerationRun::next(std::chrono::steady_clock::duration patience,
                                                               size_t max_tokens) {
  CHECK(!done());
  std::vector<Delta> deltas;
  auto event = co_await tokens_.next(patience);
  while (event) {
    take(std::move(*event), deltas);
    event.reset();
    if (!done() && deltas.size() < max_tokens) event = tokens_.poll();
  }
  co_return deltas;
}

void GenerationRun::take(TokenStream::Event event, std::vector<Delta>& deltas) {
  Choice& choice = choices_[event.choice];
  if (!choice.open) return;
  if (const auto* chunk = std::get_if<TokenChunk>(&event.event))
    return take_tokens(event.choice, *chunk, deltas);

  const auto& end = std::get<TokenEnd>(event.event);
  figures_.bytes_held += end.kv_bytes_held;
  figures_.bytes_peak += end.kv_bytes_peak;
  figures_.tokens_evicted += end.tokens_evicted;
  if (end.reason == FinishReason::error) {
    error_ = end.error;
    finish(event.choice);
    return;
  }
  Delta delta;
  delta.choice = event.choice;
  delta.first = choice.tokens == 0;
  delta.text = choice.text.finish();
  delta.finish = choice.text.stopped() ? FinishReason::stop : end.reason;
  // The id that ended it was generated too, but is not sent.
  if (end.reason == FinishReason::stop) ++choice.tokens;
  finish(event.choice);
  deltas.push_back(std::move(delta));
}

void GenerationRun::take_tokens(size_t index, const TokenChunk& chunk, std::vector<Delta>& deltas) {
  Choice& choice = choices_[index];
  for (const int32_t id : chunk.ids) {
    Delta delta;
    delta.choice = index;
    delta.first = choice.tokens++ == 0;
    delta.text = choice.text.add(id);
    delta.token = id;
    if (choice.text.stopped()) delta.finish = FinishReason::stop;
    deltas.push_back(std::move(delta));
    if (choice.text.stopped()) {
      tokens_.stop(index);
      figures_.complete = false;
      finish(index);
      return;
    }
  }
}

void GenerationRun::finish(size_t index) {
  choices_[index].open = false;
  --open_;
}

Usage GenerationRun::usage() const {
  Usage usage;
  usage.prompt_tokens = prompt_tokens_;
  for (const Choice& choice : choices_) usage.completion_tokens += choice.tokens;
  return usage;
}

}  // namespace batchmax::coordinator
