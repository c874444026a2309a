// Where the suite of the groups runs: the same tests over threads (ranks_threads.cc) and, started by mpirun,
// over MPI (ranks_mpi.cc) and NCCL (ranks_nccl.cc).
#pragma once

#include <functional>
#include <vector>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {

// Runs `body` once per rank of a group, on a thread or in a process each; over MPI this process is one of the
// ranks. For every size in group_sizes().
using Body = std::function<void(ControlGroup&, TensorGroup&, const kernels::Stream&)>;
void on_all_ranks(int group_size, const Body& body);
std::vector<int> group_sizes();
// Whether sums are the host's: in rank order in fp32, rounded once.
bool sums_in_rank_order();

}  // namespace batchmax::comm
