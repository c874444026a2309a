// What this device can do at best, measured in the same run as the kernels that are held against it.
#pragma once

#include <string>

#include "kernels/core/stream.h"

namespace batchmax::bench {

struct DeviceFloor {
  std::string device;
  double copy_bytes = 0;  // per second read and written, a copy of 1 GiB within device memory
};

// Medians of several rounds, under a second.
DeviceFloor measure_device_floor(const kernels::Stream& stream);
void print(const DeviceFloor& floor);

}  // namespace batchmax::bench
