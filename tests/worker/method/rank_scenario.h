// Requests that a tensor-parallel group answers while eviction goes on, run on one rank: every rank plans for
// itself, from the same requests and the same drawn ids. Used over threads, over mpirun.
#pragma once

#include <vector>

#include "comm/group/tensor_group.h"
#include "tests/support/engine.h"
#include "tests/support/random_model.h"

namespace batchmax::worker {

struct RankScenario {
  kernels::Score score;
  bool layer_scope;
  int32_t vocabulary;  // where the ranks do not divide it, every rank holds the whole output layer
};

inline std::vector<RankScenario> rank_scenarios() {
  std::vector<RankScenario> all;
  for (const kernels::Score score :
       {kernels::Score::average, kernels::Score::key_distance, kernels::Score::key_diff,
        kernels::Score::recency, kernels::Score::random}) {
    for (const bool layer_scope : {false, true})
      all.push_back({score, layer_scope, layer_scope ? 1024 : 1023});
  }
  return all;
}

struct RankAnswer {
  std::vector<std::vector<int32_t>> tokens;
  int64_t evicting_rows = 0;
};

inline RankAnswer answer_on_rank(const RankScenario& scenario, comm::TensorGroup& group) {
  EngineOptions options;
  options.model = random_model(4, 2, 64, 2);
  options.model.vocab_size = scenario.vocabulary;
  options.rule = {scenario.score, scenario.layer_scope};
  options.limits = {96, 4, 512};
  options.decode_block = 4;
  UnevenWeights weights(21);
  Engine engine(options, weights, group);
  std::vector<SequenceRequest> requests;
  const auto add = [&](int32_t prompt, config::Mode mode, int32_t budget) {
    config::Compression rule;
    rule.mode = mode;
    rule.budget = budget;
    rule.block = 16;
    rule.sinks = 2;
    rule.recent = budget / 4;
    rule.prompt_tail = 6;
    rule.decode_block = 4;
    const auto id = static_cast<uint64_t>(requests.size() + 1);
    requests.push_back(greedy_request(
        id, distinct_tokens(prompt, scenario.vocabulary, static_cast<uint32_t>(id)), 40, rule));
  };
  add(150, config::Mode::full, 48);
  add(90, config::Mode::full, 70);
  add(101, config::Mode::decode, 40);
  RankAnswer answer;
  answer.tokens = run_requests(engine, requests, [&](const StepPlan& plan) {
    answer.evicting_rows += plan.count_of(RowKind::replace) + plan.count_of(RowKind::compact) +
                            static_cast<int64_t>(plan.victim_rows.size());
  });
  return answer;
}

}  // namespace batchmax::worker
