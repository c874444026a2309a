// A rank of a thread group that goes away must not leave the others waiting. (Over MPI mpirun ends them.)
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {
namespace {

TEST(BrokenGroup, DeliversWhatWasSentAndThenThrows) {
  auto members = make_thread_control_groups(2);
  members[0]->broadcast(std::vector<std::byte>(7));
  std::thread waiting([&] {
    EXPECT_EQ(members[1]->broadcast({}).size(), 7U);
    EXPECT_THROW(members[1]->broadcast({}), std::runtime_error);
  });
  members[0].reset();
  waiting.join();
}

TEST(BrokenGroup, ThrowsOutOfAGather) {
  auto members = make_thread_control_groups(3);
  std::thread waiting([&] { EXPECT_THROW(members[0]->gather({}), std::runtime_error); });
  members[2].reset();
  members[1]->gather({});
  waiting.join();
}

TEST(BrokenGroup, ThrowsOutOfAnAllReduce) {
  auto members = make_thread_tensor_groups(2);
  float value = 1;
  const kernels::Tensor tensor(&value, kernels::DType::f32, {1});
  std::thread waiting([&] {
    const kernels::Stream stream = kernels::Stream::cpu();
    EXPECT_THROW(members[0]->all_reduce(stream, std::span(&tensor, 1)), std::runtime_error);
  });
  members[1].reset();
  waiting.join();
}

}  // namespace
}  // namespace batchmax::comm
