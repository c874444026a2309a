// The ranks of a group answer as one would: greedy tokens are equal for 1, 2 and 4 ranks while eviction goes
// on.
#include <gtest/gtest.h>

#include <thread>

#include "kernels/core/threads.h"
#include "tests/worker/method/rank_scenario.h"

namespace batchmax::worker {
namespace {

std::vector<RankAnswer> answers_of(const RankScenario& scenario, int ranks) {
  const auto groups = comm::make_thread_tensor_groups(ranks);
  std::vector<RankAnswer> answers(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      kernels::use_cpu_threads(1);
      const auto at = static_cast<size_t>(rank);
      answers[at] = answer_on_rank(scenario, *groups[at]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

TEST(TensorParallel, AnyNumberOfRanksGivesTheSameTokens) {
  for (const RankScenario& scenario : rank_scenarios()) {
    SCOPED_TRACE(::testing::Message()
                 << kernels::name_of(scenario.score) << (scenario.layer_scope ? " layer" : " head"));
    const RankAnswer alone = answers_of(scenario, 1)[0];
    EXPECT_GT(alone.evicting_rows, 30);
    for (const int ranks : {2, 4}) {
      for (const RankAnswer& answer : answers_of(scenario, ranks))
        EXPECT_EQ(answer.tokens, alone.tokens) << ranks;
    }
  }
}

}  // namespace
}  // namespace batchmax::worker
