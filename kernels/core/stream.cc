#include "kernels/core/stream.h"

#include <stdexcept>
#include <utility>

#include "kernels/core/build.h"
#include "kernels/core/cuda/memory.h"

namespace batchmax::kernels {

Stream Stream::cpu() { return Stream(Backend::cpu, 0, nullptr); }

Stream Stream::cuda(int device) {
  if constexpr (kCudaBuilt) return Stream(Backend::cuda, device, cuda::create_stream(device));
  throw std::runtime_error(
      "this build has no CUDA backend: build with the preset `cuda`, or use --backend cpu");
}

Stream::Stream(Stream&& other) noexcept
    : backend_(other.backend_), device_(other.device_), native_(std::exchange(other.native_, nullptr)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(device_, other.device_);
  std::swap(native_, other.native_);
  return *this;
}

Stream::~Stream() {
  if constexpr (kCudaBuilt) {
    if (native_ != nullptr) cuda::destroy_stream(native_);
  }
}

void Stream::synchronize() const {
  if constexpr (kCudaBuilt) {
    if (backend_ == Backend::cuda) cuda::synchronize(*this);
  }
}

}  // namespace batchmax::kernels
