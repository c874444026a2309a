// The GPUs of this machine, and where they sit in it.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/stream.h"

namespace batchmax::kernels {

// GPUs that CUDA shows to this process; 0 where there is none, or no driver, or no CUDA in this build.
int device_count();

struct DeviceFacts {
  std::string name;    // "NVIDIA H200"
  std::string bus;     // PCI address, "0000:19:00.0": names the GPU to every process of this machine
  int numa_node = -1;  // -1: the machine does not show one
};
// Of a cuda stream's device.
DeviceFacts device_facts(const Stream& stream);

// Whether the device of `stream` reads the memory of the GPU at PCI address `bus` of this machine directly.
// false too where this process cannot see that GPU.
bool has_peer_access(const Stream& stream, const std::string& bus);

}  // namespace batchmax::kernels
