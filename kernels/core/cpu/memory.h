// Host memory of the CPU backend.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/core/buffer.h"

namespace batchmax::kernels::cpu {

// `bytes` is a multiple of `alignment`. Throws std::bad_alloc.
void* allocate(size_t bytes, size_t alignment);
void release(void* data);  // nullptr is fine

// What this process may take: the machine's memory, or less where a control group limits it. total: MemTotal
// or the smallest limit of the process's control groups (version 2, and version 1's memory controller); free:
// MemAvailable or what is left below that limit, pages of files not read recently counted as free. `root` is
// the directory that holds proc/ and sys/. Throws std::runtime_error when proc/meminfo cannot be read.
MemoryInfo memory_info(const std::string& root = "/");

}  // namespace batchmax::kernels::cpu
