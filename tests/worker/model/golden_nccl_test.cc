// The logits of transformers on GPUs too, from ranks that sum over NCCL.
#include <gtest/gtest.h>

#include "comm/group/nccl_tensor_group.h"
#include "tests/support/mpi_process.h"
#include "tests/support/rank_device.h"
#include "tests/worker/model/golden_scenario.h"

namespace batchmax::worker {
namespace {

// fp32 too: there a share that is summed twice, or not at all, stands out from rounding.
TEST(AgainstTransformersInRanks, SameLogitsOverNccl) {
  if (!has_rank_device()) return;
  comm::MpiRuntime& mpi = comm::mpi_runtime();
  EngineOptions place;
  place.backend = kernels::Backend::cuda;
  place.device = rank_device(mpi.world_rank(), mpi.world_size());
  const kernels::Stream stream = kernels::Stream::cuda(place.device);
  const auto control = mpi.control_group(mpi.world_size());
  const comm::NcclGroup joined = comm::make_nccl_tensor_group(*control, stream, comm::SmallSums::nccl);
  if (mpi.world_rank() == 0) std::printf("%s\n", joined.description.c_str());
  for (const kernels::DType dtype : {kernels::DType::f32, kernels::DType::bf16}) {
    place.compute = place.kv = dtype;
    expect_golden_logits(place, *joined.group);
  }
}

}  // namespace
}  // namespace batchmax::worker
