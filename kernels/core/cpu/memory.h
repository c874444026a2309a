// Host memory of the CPU backend.
#pragma once

#include <cstddef>

#include "kernels/core/buffer.h"

namespace batchmax::kernels::cpu {

// `bytes` is a multiple of `alignment`. Throws std::bad_alloc.
void* allocate(size_t bytes, size_t alignment);
void release(void* data);  // nullptr is fine

// The machine's memory, or the control group's where that is less.
MemoryInfo memory_info();

}  // namespace batchmax::kernels::cpu
