#include "coordinator/gateway/generation_run.h"

#include <algorithm>
#include <utility>

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

namespace {

bool has_text(const Tokenizer* tokenizer, const std::vector<int32_t>& ids, bool skip_special_tokens) {
  return tokenizer != nullptr && std::any_of(ids.rbegin(), ids.rend(), [&](int32_t id) {
           return !skip_special_tokens || !tokenizer->is_special(id);
         });
}

}  // namespace

GenerationRun::GenerationRun(const PreparedRequest& prepared, const ModelFacts& facts,
                             const Tokenizer* tokenizer, TokenStream& tokens)
    : request_(prepared.request), tokens_(tokens) {
  ChoiceText::Rules rules{request_.stop, request_.skip_special_tokens, request_.min_tokens};
  for (const auto& prompt : prepared.prompts) {
    rules.behind_text = has_text(tokenizer, prompt.tokens, request_.skip_special_tokens);
    const TokenScores scores(tokenizer, request_.skip_special_tokens, rules.behind_text && !request_.echo);
    const auto length = static_cast<int32_t>(prompt.tokens.size());
    prompt_tokens_ += length;
    const auto pages = config::reservation(request_.compression, length, prompt.max_tokens).pages;
    for (int32_t choice = 0; choice < request_.n; ++choice) {
      choices_.push_back({ChoiceText(tokenizer, rules), scores, &prompt, true, false, {}});
      figures_.bytes_reserved += static_cast<uint64_t>(pages) * config::kPageSlots * facts.kv_bytes_per_slot;
    }
  }
  open_ = choices_.size();
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
  if (auto* chunk = std::get_if<TokenChunk>(&event.event))
    return take_tokens(event.choice, std::move(*chunk), deltas);
  if (auto* scores = std::get_if<PromptLogprobs>(&event.event)) {
    for (TokenLogprob& logprob : scores->logprobs) choice.prompt_logprobs.push_back(std::move(logprob));
    return;
  }

  const auto& end = std::get<TokenEnd>(event.event);
  figures_.bytes_held += end.kv_bytes_held;
  figures_.bytes_peak += end.kv_bytes_peak;
  figures_.tokens_evicted += end.tokens_evicted;
  if (end.reason == FinishReason::error) {
    error_ = end.error;
    finish(event.choice);
    return;
  }
  Delta delta = next_delta(event.choice, deltas);
  delta.text = choice.text.finish();
  delta.finish = choice.text.stopped() ? FinishReason::stop : end.reason;
  if (request_.max_tokens == 0) {
    delta.finish = FinishReason::length;
  } else if (end.reason == FinishReason::stop) {
    ++completion_tokens_;  // the id that ended it was generated too, but is not sent
  }
  delta.completion_tokens = completion_tokens_;
  finish(event.choice);
  deltas.push_back(std::move(delta));
}

// A new one of this choice; before the first, the echo of its prompt.
Delta GenerationRun::next_delta(size_t index, std::vector<Delta>& deltas) {
  Choice& choice = choices_[index];
  Delta delta;
  delta.choice = index;
  delta.first = !std::exchange(choice.begun, true);
  if (!delta.first || !request_.echo) return delta;
  Delta echo;
  echo.choice = index;
  echo.first = std::exchange(delta.first, false);
  echo.completion_tokens = completion_tokens_;
  echo.text = choice.prompt->text;
  echo.tokens = choice.prompt->tokens;
  if (request_.logprobs >= 0) {
    CHECK_EQ(choice.prompt_logprobs.size() + 1, echo.tokens.size());
    for (size_t i = 0; i < echo.tokens.size(); ++i) {
      echo.scored.push_back(choice.scores.add(
          echo.tokens[i], i == 0 ? std::nullopt : std::optional(std::move(choice.prompt_logprobs[i - 1]))));
    }
    choice.prompt_logprobs.clear();
  }
  deltas.push_back(std::move(echo));
  return delta;
}

void GenerationRun::take_tokens(size_t index, TokenChunk chunk, std::vector<Delta>& deltas) {
  Choice& choice = choices_[index];
  if (!first_token_) first_token_ = std::chrono::steady_clock::now();
  if (request_.max_tokens == 0) return;  // drawn because a step draws
  for (size_t i = 0; i < chunk.ids.size(); ++i) {
    const int32_t id = chunk.ids[i];
    Delta delta = next_delta(index, deltas);
    delta.completion_tokens = ++completion_tokens_;
    delta.text = choice.text.add(id);
    delta.tokens = {id};
    if (request_.logprobs >= 0)
      delta.scored.push_back(choice.scores.add(id, std::move(chunk.logprobs.at(i))));
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

}  // namespace batchmax::coordinator
