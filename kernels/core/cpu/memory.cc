#include "kernels/core/cpu/memory.h"

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
  void* data = std::aligned_alloc(alignment, std::max(bytes, alignment));
  if (data == nullptr) throw std::bad_alloc();
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
