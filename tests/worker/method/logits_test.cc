// What requests ask of the logits, on the real engine: log probabilities of prompts and of drawn tokens,
// biases, penalties, bans; alone, in a crowd, and after a replay.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>

#include "tests/kernels/on_backend.h"
#include "tests/support/engine.h"
#include "tests/support/random_model.h"

namespace batchmax::worker {
namespace {

using config::Compression;
using config::Mode;

constexpr int32_t kVocabulary = 64;

Compression compression(Mode mode, int32_t budget) { return {mode, budget, 16, 2, budget / 4, 5, 4}; }

struct Answer {
  std::vector<int32_t> ids;
  std::vector<kernels::TokenLogprob> drawn;
  std::map<int32_t, kernels::TokenLogprob> prompt;  // by position
  std::vector<std::vector<float>> logits;           // before adjustments, of each drawn token
};

class Logits : public kernels::testing::OnBackend {
 protected:
  std::vector<Answer> run(const std::vector<SequenceRequest>& requests) {
    EngineOptions options;
    options.model = random_model(2, 2, 64, 2);
    options.backend = GetParam();
    options.limits = {128, 4, 512};
    const auto groups = comm::make_thread_tensor_groups(1);
    UnevenWeights weights(5);
    Engine engine(options, weights, *groups[0]);
    Scheduler scheduler(engine.scheduler_limits(), engine.clock());
    std::map<uint64_t, size_t> places;
    for (size_t i = 0; i < requests.size(); ++i) {
      places[requests[i].request] = i;
      scheduler.submit(requests[i]);
    }
    std::vector<Answer> answers(requests.size());
    while (const auto plan = scheduler.plan()) {
      EXPECT_EQ(plan_fault(*plan), std::nullopt);
      const StepPlan travelled = deserialize_step_plan(serialize(*plan));
      engine.executor().launch(travelled);
      const StepResult result = engine.executor().collect();
      std::map<int32_t, size_t> by_table;
      for (size_t i = 0; i < requests.size(); ++i) by_table[static_cast<int32_t>(i)] = i;
      for (size_t s = 0; s < plan->samples.size(); ++s)
        answers[by_table.at(plan->samples[s].sequence)].logits.push_back(engine.logits()[s]);
      scheduler.complete(result.ids, result.logprobs);
      for (const OutboxEvent& event : scheduler.take_events()) {
        if (const auto* made = std::get_if<TokenMade>(&event)) {
          Answer& answer = answers[places.at(made->request)];
          answer.ids.push_back(made->id);
          if (made->logprob) answer.drawn.push_back(*made->logprob);
        } else if (const auto* scored = std::get_if<PromptScored>(&event)) {
          Answer& answer = answers[places.at(scored->request)];
          EXPECT_TRUE(answer.ids.empty()) << "a prompt's come before the first token";
          int32_t position = scored->position;
          for (const auto& logprob : scored->logprobs)
            EXPECT_TRUE(answer.prompt.emplace(position++, logprob).second);
        }
      }
    }
    EXPECT_TRUE(scheduler.idle());
    return answers;
  }
};
BATCHMAX_ON_BACKENDS(Logits);

double log_softmax(const std::vector<float>& logits, int32_t id) {
  const double highest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return static_cast<double>(logits[static_cast<size_t>(id)]) - highest - std::log(sum);
}

SequenceRequest request_of(int32_t length, Mode mode, int32_t budget, int32_t max_tokens) {
  return greedy_request(static_cast<uint64_t>(length), random_tokens(length, kVocabulary, 3), max_tokens,
                        compression(mode, budget));
}

// A token's log probability in the prompt is what a prompt that ends before it would draw from.
TEST_P(Logits, ScorePromptsUnderEveryMode) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full}) {
    SCOPED_TRACE(config::name_of(mode));
    SequenceRequest scored = request_of(75, mode, 40, 3);
    scored.logprobs = 5;
    scored.prompt_logprobs_from = 1;
    const Answer answer = run({scored, request_of(50, mode, 40, 9)})[0];
    ASSERT_EQ(answer.prompt.size(), 74U);
    for (const int32_t position : {1, 2, 15, 16, 17, 40, 64, 74}) {
      SCOPED_TRACE(position);
      SequenceRequest cut = scored;
      cut.tokens.resize(static_cast<size_t>(position));
      cut.prompt_length = position;
      cut.max_tokens = 1;
      cut.logprobs = -1;
      cut.prompt_logprobs_from = 0;
      const std::vector<float> logits = run({cut})[0].logits[0];
      const kernels::TokenLogprob& logprob = answer.prompt.at(position);
      const int32_t token = scored.tokens[static_cast<size_t>(position)];
      EXPECT_EQ(logprob.id, token);
      EXPECT_NEAR(static_cast<double>(logprob.logprob), log_softmax(logits, token), 2e-4);
      EXPECT_EQ(logprob.top, 5);
      EXPECT_NEAR(static_cast<double>(logprob.top_logprobs[0]), log_softmax(logits, logprob.top_ids[0]),
                  2e-4);
    }
  }
}

TEST_P(Logits, ScoreDrawnTokensBeforeAdjustments) {
  SequenceRequest request = request_of(60, Mode::full, 40, 30);
  request.logprobs = 20;
  request.sampling.presence_penalty = 1.5F;
  request.logit_bias = {{7, 3.0F}};
  const Answer answer = run({request})[0];
  ASSERT_EQ(answer.drawn.size(), 30U);
  ASSERT_EQ(answer.logits.size(), 30U);
  EXPECT_TRUE(answer.prompt.empty());
  bool beaten = false;
  for (size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(answer.drawn[i].id, answer.ids[i]);
    EXPECT_NEAR(static_cast<double>(answer.drawn[i].logprob), log_softmax(answer.logits[i], answer.ids[i]),
                2e-4);
    EXPECT_EQ(answer.drawn[i].top, 20);
    beaten = beaten || answer.drawn[i].rank > 1;
  }
  EXPECT_TRUE(beaten) << "the penalty never decided anything";
}

// What greedy sampling takes after the adjustments, slowly. Too close to call: the drawn one.
int32_t expected_draw(const SequenceRequest& request, const std::vector<int32_t>& output, size_t index,
                      std::vector<float> logits, int32_t drawn) {
  for (const auto& entry : request.logit_bias) logits[static_cast<size_t>(entry.token)] += entry.bias;
  for (int32_t id = 0; id < kVocabulary; ++id) {
    float& logit = logits[static_cast<size_t>(id)];
    const auto times = std::count(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(index), id);
    const bool in_prompt =
        std::count(request.tokens.begin(), request.tokens.begin() + request.prompt_length, id) > 0;
    const float repetition = request.sampling.repetition_penalty;
    if (times > 0 || in_prompt) logit = logit > 0 ? logit / repetition : logit * repetition;
    if (times > 0)
      logit -=
          request.sampling.frequency_penalty * static_cast<float>(times) + request.sampling.presence_penalty;
    const bool stop = std::count(request.stop_ids.begin(), request.stop_ids.end(), id) > 0;
    if (stop && index < static_cast<size_t>(request.min_tokens))
      logit = -std::numeric_limits<float>::infinity();
  }
  const auto best = std::max_element(logits.begin(), logits.end());
  if (*best - logits[static_cast<size_t>(drawn)] < 1e-4F) return drawn;
  return static_cast<int32_t>(best - logits.begin());
}

std::vector<SequenceRequest> adjusted_requests() {
  std::vector<SequenceRequest> requests;
  for (const int32_t length : {20, 35, 50, 65}) {
    SequenceRequest request = request_of(length, Mode::full, 48, 40);
    request.sampling.repetition_penalty = length == 20 ? 1.3F : 1;
    request.sampling.frequency_penalty = length == 35 ? 0.4F : 0;
    request.sampling.presence_penalty = length >= 50 ? 0.8F : 0;
    if (length != 35) request.logit_bias = {{3, 2.0F}, {9, -100.0F}};
    requests.push_back(request);
  }
  return requests;
}

TEST_P(Logits, DrawWhatTheAdjustmentsSay) {
  std::vector<SequenceRequest> requests = adjusted_requests();
  const std::vector<Answer> free = run(requests);
  // Ids that are drawn early become stop ids: banned for 25 tokens, then they end it.
  requests[3].stop_ids = {free[3].ids[2], free[3].ids[4]};
  requests[3].min_tokens = 25;
  const std::vector<Answer> answers = run(requests);
  for (size_t r = 0; r < requests.size(); ++r) {
    const Answer& answer = answers[r];
    ASSERT_GE(answer.ids.size(), r == 3 ? 25U : 40U);
    for (size_t i = 0; i < answer.ids.size(); ++i) {
      ASSERT_EQ(expected_draw(requests[r], answer.ids, i, answer.logits[i], answer.ids[i]), answer.ids[i])
          << "request " << r << " token " << i;
    }
    if (r == 3) continue;
    EXPECT_EQ(answer.ids, run({requests[r]})[0].ids) << "alone and in a crowd";
  }
}

// Prompt and emitted tokens go in as a prompt; counts go on from there, and what was said is not said again.
TEST_P(Logits, GoOnAfterAReplay) {
  for (SequenceRequest request : adjusted_requests()) {
    SCOPED_TRACE(request.prompt_length);
    request.compression = compression(Mode::off, 0);
    request.logprobs = 2;
    request.prompt_logprobs_from = 1;
    const Answer whole = run({request})[0];
    SequenceRequest replay = request;
    replay.tokens.insert(replay.tokens.end(), whole.ids.begin(), whole.ids.begin() + 13);
    replay.prompt_logprobs_from = 9;
    const Answer rest = run({replay})[0];
    EXPECT_EQ(rest.ids, std::vector<int32_t>(whole.ids.begin() + 13, whole.ids.end()));
    ASSERT_EQ(rest.drawn.size(), whole.drawn.size() - 13);
    for (size_t i = 0; i < rest.drawn.size(); ++i)
      EXPECT_NEAR(rest.drawn[i].logprob, whole.drawn[i + 13].logprob, 1e-3F);
    ASSERT_EQ(rest.prompt.size(), static_cast<size_t>(request.prompt_length - 9));
    EXPECT_EQ(rest.prompt.begin()->first, 9);
    EXPECT_NEAR(rest.prompt.at(9).logprob, whole.prompt.at(9).logprob, 1e-3F);
  }
}

}  // namespace
}  // namespace batchmax::worker
