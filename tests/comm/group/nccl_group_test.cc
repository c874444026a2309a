// What only the groups of GPUs do: calls inside of graphs, and the refusal of a placement that NCCL cannot
// serve.
#include "comm/group/nccl_tensor_group.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/graph.h"
#include "tests/comm/group/ranks.h"
#include "tests/support/mpi_process.h"
#include "tests/support/rank_device.h"

namespace batchmax::comm {
namespace {

using kernels::DType;
using kernels::Tensor;

// Recorded once, launched again and again between other calls: what lies in the tensors then counts.
TEST(NcclTensorGroup, CallsMayBeRecorded) {
  for (const int size : group_sizes()) {
    on_all_ranks(size, [](ControlGroup& control, TensorGroup& group, const kernels::Stream& stream) {
      constexpr int64_t kRows = 5;
      constexpr int64_t kColumns = 300;
      const kernels::Buffer sums(stream, kRows * kColumns * sizeof(float));
      const kernels::Buffer whole(stream,
                                  kRows * kColumns * sizeof(float) * static_cast<size_t>(group.size()));
      const Tensor part(sums.data(), DType::f32, {kRows, kColumns});
      const Tensor all(whole.data(), DType::f32, {kRows, kColumns * group.size()});
      const auto work = [&] {
        group.all_reduce(stream, std::array{part});
        group.all_gather(stream, part, all);
      };
      work();
      stream.synchronize();
      const kernels::Graph graph(stream, work);
      for (int round = 1; round <= 3; ++round) {
        const std::vector<float> ones(kRows * kColumns, static_cast<float>(round));
        kernels::upload(stream, part.data(), ones.data(), part.bytes());
        graph.launch(stream);
        std::vector<float> got(static_cast<size_t>(all.elements()));
        kernels::download(stream, got.data(), all.data(), all.bytes());
        stream.synchronize();
        for (const float value : got) ASSERT_EQ(value, static_cast<float>(round * group.size()));
        const std::vector<float> other(kRows * kColumns, 0.5F);
        kernels::upload(stream, part.data(), other.data(), part.bytes());
        group.all_reduce(stream, std::array{part});
        stream.synchronize();
      }
      control.barrier();
    });
  }
}

// More bytes than the scratch buffer of a gather holds.
TEST(NcclTensorGroup, GathersInPasses) {
  for (const int size : group_sizes()) {
    on_all_ranks(size, [](ControlGroup&, TensorGroup& group, const kernels::Stream& stream) {
      constexpr int64_t kRows = 9;
      constexpr int64_t kColumns = 600'000;
      std::vector<float> own;
      for (int64_t row = 0; row < kRows; ++row) {
        own.insert(own.end(), kColumns, static_cast<float>(1000 * group.rank() + row));
      }
      const kernels::Buffer from(stream, own.size() * sizeof(float));
      const kernels::Buffer to(stream, from.bytes() * static_cast<size_t>(group.size()));
      kernels::upload(stream, from.data(), own.data(), from.bytes());
      const Tensor all(to.data(), DType::f32, {kRows, kColumns * group.size()});
      group.all_gather(stream, Tensor(from.data(), DType::f32, {kRows, kColumns}), all);
      std::vector<float> got(static_cast<size_t>(all.elements()));
      kernels::download(stream, got.data(), all.data(), all.bytes());
      stream.synchronize();
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t rank = i / kColumns % static_cast<size_t>(group.size());
        const size_t row = i / kColumns / static_cast<size_t>(group.size());
        ASSERT_EQ(got[i], static_cast<float>(1000 * rank + row)) << "element " << i;
      }
    });
  }
}

TEST(NcclTensorGroup, SaysHowItsRanksAreJoined) {
  if (!has_rank_device()) return;
  MpiRuntime& mpi = mpi_runtime();
  const kernels::Stream stream = kernels::Stream::cuda(rank_device(mpi.world_rank(), mpi.world_size()));
  const auto control = mpi.control_group(mpi.world_size());
  const NcclGroup made = make_nccl_tensor_group(*control, stream, SmallSums::one_shot);
  EXPECT_NE(made.description.find(mpi.world_size() == 1 ? "one rank" : "ranks"), std::string::npos);
  if (mpi.world_rank() == 0) std::printf("%s\n", made.description.c_str());
}

TEST(NcclTensorGroup, RefusesRanksThatShareAGpu) {
  MpiRuntime& mpi = mpi_runtime();
  if (!has_rank_device() || mpi.world_size() <= kernels::device_count()) return;
  const kernels::Stream stream = kernels::Stream::cuda(rank_device(mpi.world_rank(), mpi.world_size()));
  ::unsetenv("NCCL_HOSTID");
  const auto control = mpi.control_group(mpi.world_size());
  std::string refusal;
  try {
    make_nccl_tensor_group(*control, stream, SmallSums::nccl);
  } catch (const std::runtime_error& error) {
    refusal = error.what();
  }
  EXPECT_NE(refusal.find("give every rank an NCCL_HOSTID of its own"), std::string::npos) << refusal;
}

}  // namespace
}  // namespace batchmax::comm
