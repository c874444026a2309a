#include "kernels/core/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "kernels/core/build.h"
#include "kernels/core/cpu/memory.h"
#include "kernels/core/cuda/memory.h"
#include "monitoring/check.h"

namespace batchmax::kernels {

namespace {
constexpr size_t kAlignment = 256;
constexpr size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
}  // namespace

Buffer::Buffer(const Stream& stream, size_t bytes) : backend_(stream.backend()), bytes_(bytes) {
  if constexpr (kCudaBuilt) {
    if (backend_ == Backend::cuda) {
      data_ = cuda::allocate(stream, bytes);
      return;
    }
  }
  data_ = cpu::allocate(aligned(bytes), kAlignment);
}

Buffer::Buffer(Buffer&& other) noexcept
    : backend_(other.backend_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if constexpr (kCudaBuilt) {
    if (backend_ == Backend::cuda) {
      if (data_ != nullptr) cuda::release(data_);
      return;
    }
  }
  cpu::release(data_);
}

PinnedBuffer::PinnedBuffer(const Stream& stream, size_t bytes) : backend_(stream.backend()), bytes_(bytes) {
  if constexpr (kCudaBuilt) {
    if (backend_ == Backend::cuda) {
      data_ = cuda::allocate_pinned(stream, bytes);
      return;
    }
  }
  data_ = cpu::allocate(aligned(bytes), kAlignment);
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : backend_(other.backend_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBuffer::~PinnedBuffer() {
  if constexpr (kCudaBuilt) {
    if (backend_ == Backend::cuda) {
      if (data_ != nullptr) cuda::release_pinned(data_);
      return;
    }
  }
  cpu::release(data_);
}

Tensor Arena::take(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor tensor(base_ == nullptr ? nullptr : base_ + used_, dtype, shape);
  used_ += aligned(tensor.bytes());
  CHECK_LE(used_, capacity_);
  return tensor;
}

void upload(const Stream& stream, void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::upload(stream, device, host, bytes);
  }
  std::memcpy(device, host, bytes);
}

void download(const Stream& stream, void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::download(stream, host, device, bytes);
  }
  std::memcpy(host, device, bytes);
}

void fill_zero(const Stream& stream, void* device, size_t bytes) {
  if (bytes == 0) return;
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::fill_zero(stream, device, bytes);
  }
  std::memset(device, 0, bytes);
}

MemoryInfo memory_info(const Stream& stream) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::memory_info(stream);
  }
  return cpu::memory_info();
}

}  // namespace batchmax::kernels
