// The same on GPUs, over NCCL: the group answers as one GPU alone, while eviction goes on. (One GPU answers
// as the CPU: graphs_test.cc.)
#include <gtest/gtest.h>

#include "comm/group/nccl_tensor_group.h"
#include "tests/support/mpi_process.h"
#include "tests/support/rank_device.h"
#include "tests/worker/method/longbook_scenario.h"

namespace batchmax::worker {
namespace {

// Both scopes; each way of summing with graphs in one, launch by launch in the other.
void expect_the_answers_of_one(comm::SmallSums small_sums) {
  if (!has_rank_device()) return;
  comm::MpiRuntime& mpi = comm::mpi_runtime();
  EngineOptions place;
  place.backend = kernels::Backend::cuda;
  place.device = rank_device(mpi.world_rank(), mpi.world_size());
  const kernels::Stream stream = kernels::Stream::cuda(place.device);
  const auto alone = mpi.control_group(1);
  const auto all = mpi.control_group(mpi.world_size());
  const comm::NcclGroup solo = comm::make_nccl_tensor_group(*alone, stream, comm::SmallSums::nccl);
  const comm::NcclGroup joined = comm::make_nccl_tensor_group(*all, stream, small_sums);
  if (mpi.world_rank() == 0) std::printf("%s\n", joined.description.c_str());
  for (const SelectionRule& rule :
       {SelectionRule{kernels::Score::average, true}, SelectionRule{kernels::Score::key_distance, false}}) {
    place.graphs = rule.layer_scope == (small_sums == comm::SmallSums::nccl);
    place.lookahead = place.graphs ? 1 : 0;
    SCOPED_TRACE(::testing::Message()
                 << kernels::name_of(rule.score) << (rule.layer_scope ? " layer" : " head")
                 << (place.graphs ? " graphs" : " launches"));
    const auto expected = answer_from_longbook(rule, *solo.group, place);
    EXPECT_EQ(answer_from_longbook(rule, *joined.group, place), expected);
  }
}

TEST(TensorParallelOverNccl, AnyNumberOfRanksGivesTheSameAnswers) {
  expect_the_answers_of_one(comm::SmallSums::nccl);
}
TEST(TensorParallelOverNccl, SoItDoesWithSmallSumsInOneTrip) {
  expect_the_answers_of_one(comm::SmallSums::one_shot);
}

}  // namespace
}  // namespace batchmax::worker
