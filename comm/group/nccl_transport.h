// How NCCL moves a group's bytes, for the line at start. NCCL tells it in its log only, so its log is read.
#pragma once

#include <string>

#include "comm/group/device_placement.h"
#include "kernels/core/stream.h"

namespace batchmax::comm {

// Make one before the first communicator of the process, ask after it. Sets NCCL's log to a file of its own
// and lets NCCL connect all ranks at once (NCCL_RUNTIME_CONNECT=0), so that nothing is allocated later. What
// an operator has set stays: with an NCCL_DEBUG of theirs nothing is seen here, it is in their log.
class TransportWatch {
 public:
  TransportWatch();
  ~TransportWatch();
  TransportWatch(const TransportWatch&) = delete;
  TransportWatch& operator=(const TransportWatch&) = delete;

  std::string seen() const;  // "P2P/CUMEM", several joined by ", "; empty: nothing

 private:
  std::string path_;  // empty: not watching
};

// What stands after "via" in the lines of channels: the transports without the device that a network one
// names.
std::string transports_in(const std::string& log);

// "NCCL 2.28.9, 2 ranks, peer access to all other GPUs, transport P2P/CUMEM". version: as NCCL counts, 22809.
std::string describe_nccl(int version, const DevicePlacement& placement, const kernels::Stream& stream,
                          const std::string& transport);

}  // namespace batchmax::comm
