// The same on GPUs, over NCCL: the group answers with the tokens of one GPU alone, and those are the CPU's.
#include <gtest/gtest.h>

#include "comm/group/mpi_runtime.h"
#include "comm/group/nccl_tensor_group.h"
#include "kernels/core/threads.h"
#include "tests/support/rank_device.h"
#include "tests/worker/method/rank_scenario.h"

namespace batchmax::worker {
namespace {

comm::MpiRuntime* runtime = nullptr;  // main's, while the tests run

EngineOptions place_of_rank(bool graphs) {
  EngineOptions place;
  place.backend = kernels::Backend::cuda;
  place.device = rank_device(runtime->world_rank(), runtime->world_size());
  place.graphs = graphs;
  place.lookahead = graphs ? 1 : 0;
  return place;
}

TEST(TensorParallelOverNccl, AnyNumberOfRanksGivesTheTokensOfTheCpu) {
  if (!has_rank_device()) return;
  kernels::use_cpu_threads(1);
  const auto solo = comm::make_thread_tensor_groups(1);
  const auto control = runtime->control_group(runtime->world_size());
  const Engine::MakeGroup join = [&](const kernels::Stream& stream) {
    return comm::make_nccl_tensor_group(*control, stream, comm::SmallSums::nccl).group;
  };
  for (const RankScenario& scenario : rank_scenarios()) {
    SCOPED_TRACE(::testing::Message()
                 << kernels::name_of(scenario.score) << (scenario.layer_scope ? " layer" : " head"));
    const RankAnswer expected = answer_on_rank(scenario, *solo[0]);
    // Graphs of collectives on some, launches on others: each costs a communicator.
    const bool graphs = scenario.layer_scope;
    const RankAnswer together = answer_on_rank(scenario, join, place_of_rank(graphs));
    EXPECT_GT(together.evicting_rows, 30);
    EXPECT_EQ(together.tokens, expected.tokens) << (graphs ? "graphs" : "launches");
  }
}

}  // namespace
}  // namespace batchmax::worker

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  batchmax::comm::MpiRuntime runtime(&argc, &argv);
  batchmax::worker::runtime = &runtime;
  return RUN_ALL_TESTS();
}
