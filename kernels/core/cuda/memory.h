// Device memory, streams and copies of the CUDA backend, behind kernels/core's Stream and Buffer. The sources
// stand beside this header and are part of a build with CUDA only.
#pragma once

#include <cstddef>

#include "kernels/core/buffer.h"

namespace batchmax::kernels::cuda {

// All throw std::runtime_error naming the call, the device and CUDA's message.
void* create_stream(int device);
void destroy_stream(void* stream);
void synchronize(const Stream& stream);
void* allocate(const Stream& stream, size_t bytes);
void release(void* data);
void* allocate_pinned(const Stream& stream, size_t bytes);
void release_pinned(void* data);
void upload(const Stream& stream, void* device, const void* host, size_t bytes);
void download(const Stream& stream, void* host, const void* device, size_t bytes);
void fill_zero(const Stream& stream, void* device, size_t bytes);
MemoryInfo memory_info(const Stream& stream);

}  // namespace batchmax::kernels::cuda
