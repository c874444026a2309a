#include "kernels/core/device.h"

#include "kernels/core/build.h"
#include "kernels/core/cuda/device.h"
#include "monitoring/check.h"

namespace batchmax::kernels {

int device_count() {
  if constexpr (kCudaBuilt) return cuda::device_count();
  return 0;
}

DeviceFacts device_facts(const Stream& stream) {
  CHECK(stream.backend() == Backend::cuda);
  if constexpr (kCudaBuilt) return cuda::device_facts(stream);
  return {};
}

bool has_peer_access(const Stream& stream, const std::string& bus) {
  CHECK(stream.backend() == Backend::cuda);
  if constexpr (kCudaBuilt) return cuda::has_peer_access(stream, bus);
  return false;
}

}  // namespace batchmax::kernels
