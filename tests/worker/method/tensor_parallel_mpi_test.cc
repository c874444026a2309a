// The same over MPI: every process compares the group's tokens with those of one rank alone.
#include <gtest/gtest.h>

#include "comm/group/mpi_runtime.h"
#include "kernels/core/threads.h"
#include "tests/worker/method/rank_scenario.h"

namespace batchmax::worker {
namespace {

comm::TensorGroup* group_of_this_process = nullptr;  // main's, while the tests run

TEST(TensorParallelOverMpi, AnyNumberOfRanksGivesTheSameTokens) {
  kernels::use_cpu_threads(1);
  const auto solo = comm::make_thread_tensor_groups(1);
  for (const RankScenario& scenario : rank_scenarios()) {
    SCOPED_TRACE(::testing::Message()
                 << kernels::name_of(scenario.score) << (scenario.layer_scope ? " layer" : " head"));
    const RankAnswer together = answer_on_rank(scenario, *group_of_this_process);
    EXPECT_EQ(together.tokens, answer_on_rank(scenario, *solo[0]).tokens);
  }
}

}  // namespace
}  // namespace batchmax::worker

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  batchmax::comm::MpiRuntime runtime(&argc, &argv);
  const auto group = runtime.tensor_group(runtime.world_size());
  batchmax::worker::group_of_this_process = group.get();
  return RUN_ALL_TESTS();
}
