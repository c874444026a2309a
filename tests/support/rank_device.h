// The GPU of a test process that mpirun started, also where there are more processes than GPUs.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/core/device.h"
#include "kernels/core/stream.h"

namespace batchmax {

// Whether there is one. Without: a line that ctest takes for "skipped".
inline bool has_rank_device() {
  if (kernels::device_count() > 0) return true;
  std::printf("no device: CUDA shows no GPU\n");
  return false;
}

// The device number of a rank. Ranks that share a GPU must look to NCCL like ranks of different machines.
inline int rank_device(int rank, int ranks) {
  const int devices = kernels::device_count();
  if (ranks > devices) {
    ::setenv("NCCL_HOSTID", std::to_string(rank).c_str(), 1);
    ::setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  }
  return rank % devices;
}

}  // namespace batchmax
