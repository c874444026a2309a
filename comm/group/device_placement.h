// Which GPUs the ranks of one group sit on: found out together before NCCL starts, because NCCL's own words
// for a wrong placement help nobody.
#pragma once

#include <string>
#include <vector>

#include "comm/group/control_group.h"
#include "kernels/core/stream.h"

namespace batchmax::comm {

// Of one rank.
struct DevicePlace {
  std::string machine;  // the kernel's boot id: the same in all containers of a machine
  std::string bus;      // PCI address
  std::string host_id;  // NCCL_HOSTID, what NCCL takes for the machine; empty: not set
};

struct DevicePlacement {
  std::vector<DevicePlace> places;  // by rank
  int sharers = 1;                  // ranks of this group on this rank's GPU
};

// What NCCL would refuse: two ranks on one GPU of what it takes for one machine. Empty: nothing.
std::string placement_fault(const std::vector<DevicePlace>& places);

// Every rank of the group calls this. Throws std::runtime_error on all of them, in the same words, at a
// placement_fault.
DevicePlacement agree_on_devices(ControlGroup& control, const kernels::Stream& stream);

}  // namespace batchmax::comm
