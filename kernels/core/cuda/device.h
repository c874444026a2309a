// What CUDA and the kernel's sysfs know of the GPUs, behind kernels/core/device.h.
#pragma once

#include <string>

#include "kernels/core/device.h"

namespace batchmax::kernels::cuda {

int device_count();
DeviceFacts device_facts(const Stream& stream);
bool has_peer_access(const Stream& stream, const std::string& bus);

}  // namespace batchmax::kernels::cuda
