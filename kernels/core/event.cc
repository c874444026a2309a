#include "kernels/core/event.h"

#include <chrono>
#include <utility>

#include "kernels/core/build.h"
#include "kernels/core/cuda/event.h"

namespace batchmax::kernels {

Event::Event(const Stream& stream) : native_(nullptr) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) native_ = cuda::create_event(stream);
  }
}

Event::Event(Event&& other) noexcept : native_(std::exchange(other.native_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(native_, other.native_);
  return *this;
}

Event::~Event() {
  if constexpr (kCudaBuilt) {
    if (native_ != nullptr) cuda::destroy_event(native_);
  }
}

void Event::record(const Stream& stream) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) cuda::record(native_, stream);
  }
}

void Event::wait() const {
  if constexpr (kCudaBuilt) {
    if (native_ != nullptr) cuda::wait(native_);
  }
}

void mark_time(const Stream& stream, int64_t* nanoseconds) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::mark_time(stream, nanoseconds);
  }
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  *nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace batchmax::kernels
