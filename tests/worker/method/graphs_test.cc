// Steps run as graphs and ahead of the host answer as those launched one by one.
#include <gtest/gtest.h>

#include "comm/group/tensor_group.h"
#include "kernels/core/build.h"
#include "tests/kernels/on_backend.h"
#include "tests/support/engine.h"
#include "tests/support/random_model.h"
#include "tests/worker/method/longbook_scenario.h"
#include "tests/worker/method/rank_scenario.h"

namespace batchmax::worker {
namespace {

using kernels::Backend;
using kernels::DType;

class Graphs : public ::testing::TestWithParam<Backend> {
 protected:
  Graphs() { groups_ = comm::make_thread_tensor_groups(1); }
  EngineOptions place(bool graphs, int lookahead, DType dtype) const {
    EngineOptions options;
    options.backend = GetParam();
    options.graphs = graphs;
    options.lookahead = lookahead;
    options.compute = options.kv = dtype;
    return options;
  }
  std::vector<std::unique_ptr<comm::TensorGroup>> groups_;
};

// Requests of all lengths of life: the number of rows falls from step to step, with and without blocks beside
// them.
std::vector<std::vector<int32_t>> answers(EngineOptions options, kernels::Score score,
                                          comm::TensorGroup& group) {
  options.model = random_model(2, 2, 64, 2);
  options.model.vocab_size = 512;
  options.rule.score = score;
  options.limits = {128, 12, 512};
  options.decode_block = 4;
  UnevenWeights weights(11);
  Engine engine(options, weights, group);
  std::vector<SequenceRequest> requests;
  for (int32_t i = 0; i < 11; ++i) {
    config::Compression rule;
    rule.mode = i % 4 == 3 ? config::Mode::off : i % 2 == 0 ? config::Mode::full : config::Mode::decode;
    rule.budget = 40 + i;
    rule.block = 16;
    rule.sinks = 2;
    rule.recent = 10;
    rule.prompt_tail = 5;
    rule.decode_block = 4;
    requests.push_back(greedy_request(static_cast<uint64_t>(i + 1),
                                      distinct_tokens(30 + 11 * i, 512, 7U + static_cast<uint32_t>(i)),
                                      5 + 6 * i, rule));
    requests.back().sampling.temperature = i % 3 == 2 ? 0.8F : 0.0F;
    if (i % 5 == 1) {
      requests.back().sampling.repetition_penalty = 1.4F;
      requests.back().sampling.frequency_penalty = 0.3F;
    }
    if (i % 5 == 4) {
      requests.back().logit_bias = {{17, 4.0F}, {300, -2.0F}};
      requests.back().stop_ids = {17};
      requests.back().min_tokens = 12;
    }
    if (i == 7) requests.back().logprobs = 3;  // its steps run launch by launch
  }
  return run_requests(engine, requests, [](const StepPlan&) {});
}

TEST_P(Graphs, AnswerAsLaunchesDo) {
  for (const kernels::Score score : {kernels::Score::key_distance, kernels::Score::average}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(::testing::Message() << kernels::name_of(score) << " " << kernels::name_of(dtype));
      const auto launched = answers(place(false, 0, dtype), score, *groups_[0]);
      EXPECT_EQ(answers(place(false, 1, dtype), score, *groups_[0]), launched) << "one step ahead";
      EXPECT_EQ(answers(place(true, 1, dtype), score, *groups_[0]), launched) << "graphs";
    }
  }
}

TEST_P(Graphs, AnswersAreThoseOfTheCpu) {
  if (GetParam() == Backend::cpu) GTEST_SKIP() << "it is the CPU";
  for (const RankScenario& scenario : rank_scenarios()) {
    const SelectionRule rule{scenario.score, scenario.layer_scope};
    SCOPED_TRACE(::testing::Message()
                 << kernels::name_of(rule.score) << (rule.layer_scope ? " layer" : " head"));
    const auto expected = answer_from_longbook(rule, *groups_[0], {});
    EXPECT_EQ(answer_from_longbook(rule, *groups_[0], place(true, 1, DType::f32)), expected);
  }
}

BATCHMAX_ON_BACKENDS(Graphs);

}  // namespace
}  // namespace batchmax::worker
