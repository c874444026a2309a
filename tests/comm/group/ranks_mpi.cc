#include <memory>

#include "tests/comm/group/ranks.h"
#include "tests/support/mpi_process.h"

namespace batchmax::comm {

// Smaller groups than the world: several of them at once.
void on_all_ranks(int group_size, const Body& body) {
  const auto control = mpi_runtime().control_group(group_size);
  const auto tensor = mpi_runtime().tensor_group(group_size);
  body(*control, *tensor, kernels::Stream::cpu());
}

bool sums_in_rank_order() { return true; }
std::vector<int> group_sizes() { return sizes_that_divide_the_world(); }

}  // namespace batchmax::comm
