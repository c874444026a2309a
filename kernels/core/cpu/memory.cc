#include "kernels/core/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>

namespace batchmax::kernels::cpu {
namespace {

// A line "name:   123 kB" of /proc/meminfo, in bytes.
size_t meminfo(const std::string& name) {
  std::ifstream stream("/proc/meminfo");
  std::string key;
  size_t kilobytes = 0;
  std::string unit;
  while (stream >> key >> kilobytes) {
    std::getline(stream, unit);
    if (key == name + ":") return kilobytes * 1024;
  }
  return 0;
}

// A number in a control group file; 0: none ("max", or no such file).
size_t cgroup(const char* path) {
  std::ifstream stream(path);
  size_t bytes = 0;
  return stream >> bytes ? bytes : 0;
}

}  // namespace

void* allocate(size_t bytes, size_t alignment) {
  constexpr size_t kHugePage = size_t{2} << 20;
  bytes = std::max(bytes, alignment);
  if (bytes < kHugePage) {
    void* data = std::aligned_alloc(alignment, bytes);
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }
  // Huge pages where the system grants them on request: a KV cache is read in the order of page tables, and
  // with 4 KiB pages half the time would go to address translation.
  if (bytes > SIZE_MAX - kHugePage) throw std::bad_alloc();
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* data = std::aligned_alloc(kHugePage, bytes);
  if (data == nullptr) throw std::bad_alloc();
  (void)::madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void release(void* data) { std::free(data); }

MemoryInfo memory_info() {
  MemoryInfo info{meminfo("MemAvailable"), meminfo("MemTotal")};
  const size_t limit = cgroup("/sys/fs/cgroup/memory.max");
  if (limit != 0 && limit < info.total) {
    const size_t used = cgroup("/sys/fs/cgroup/memory.current");
    info.total = limit;
    info.free = std::min(info.free, limit > used ? limit - used : 0);
  }
  return info;
}

}  // namespace batchmax::kernels::cpu
