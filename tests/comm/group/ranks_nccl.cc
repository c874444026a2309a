#include <memory>

#include "comm/group/nccl_tensor_group.h"
#include "tests/comm/group/ranks.h"
#include "tests/support/mpi_process.h"
#include "tests/support/rank_device.h"

namespace batchmax::comm {

// With small sums by NCCL and in one trip.
void on_all_ranks(int group_size, const Body& body) {
  const int device = rank_device(mpi_runtime().world_rank(), mpi_runtime().world_size());
  const auto control = mpi_runtime().control_group(group_size);
  const kernels::Stream stream = kernels::Stream::cuda(device);
  for (const SmallSums small_sums : {SmallSums::nccl, SmallSums::one_shot}) {
    const NcclGroup made = make_nccl_tensor_group(*control, stream, small_sums);
    body(*control, *made.group, stream);
    stream.synchronize();
  }
}

bool sums_in_rank_order() { return false; }
std::vector<int> group_sizes() {
  return has_rank_device() ? sizes_that_divide_the_world() : std::vector<int>{};
}

}  // namespace batchmax::comm
