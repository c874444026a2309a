// What this device can do at best, measured in the same run as the kernels that are held against it.
#pragma once

#include <string>

#include "kernels/core/stream.h"

namespace batchmax::bench {

struct DeviceFloor {
  std::string device;
  double copy_bytes = 0;    // per second read and written, a copy of 1 GiB within device memory
  double matmul_flops = 0;  // per second, 8192 x 8192 x 8192 in bf16 by cuBLASLt as kernels/linear runs it
};

// Medians of several rounds, under a second.
DeviceFloor measure_device_floor(const kernels::Stream& stream);
void print(const DeviceFloor& floor);

}  // namespace batchmax::bench
