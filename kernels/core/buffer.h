// Owning memory of a backend, allocated once at start. Buffers are 256-byte aligned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// Memory that the ops of `stream`'s backend read and write: aligned host memory, or device memory.
// Not initialised. Throws std::bad_alloc (cpu) or std::runtime_error naming size and device (cuda).
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Stream& stream, size_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Backend backend_ = Backend::cpu;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Host memory that the device can read and write at full speed (page-locked with CUDA; plain on cpu).
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const Stream& stream, size_t bytes);
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  ~PinnedBuffer();
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Backend backend_ = Backend::cpu;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Hands out aligned pieces of one Buffer, front to back; used for the workspace of a step.
class Arena {
 public:
  explicit Arena(const Buffer& buffer)
      : base_(static_cast<std::byte*>(buffer.data())), capacity_(buffer.bytes()) {}
  // A measuring arena: hands out null-based tensors and only counts.
  Arena() = default;
  Tensor take(DType dtype, std::initializer_list<int64_t> shape);  // CHECKs the capacity
  size_t used() const { return used_; }
  void reset() { used_ = 0; }

 private:
  std::byte* base_ = nullptr;
  size_t capacity_ = SIZE_MAX;
  size_t used_ = 0;
};

// Asynchronous on cuda, in stream order. Bytes of equal, non-overlapping ranges.
void upload(const Stream& stream, void* device, const void* host, size_t bytes);
void download(const Stream& stream, void* host, const void* device, size_t bytes);
void fill_zero(const Stream& stream, void* device, size_t bytes);

// Free and total bytes of the memory that Buffers of this stream come from (cpu: MemAvailable, MemTotal).
struct MemoryInfo {
  size_t free;
  size_t total;
};
MemoryInfo memory_info(const Stream& stream);

}  // namespace batchmax::kernels
