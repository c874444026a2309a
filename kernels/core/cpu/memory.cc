#include "kernels/core/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

namespace batchmax::kernels::cpu {
namespace {

namespace fs = std::filesystem;

// The number after `key` at the start of a line ("MemTotal:   24 kB", "inactive_file 4096").
std::optional<size_t> number_after(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string name;
    size_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

// A file that holds one number; none when it is absent or says "max".
std::optional<size_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  size_t value = 0;
  if (stream >> value) return value;
  return std::nullopt;
}

struct ControllerFiles {
  const char* limit;
  const char* used;
  const char* inactive;  // key in memory.stat
};
constexpr ControllerFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr ControllerFiles kVersion2{"memory.max", "memory.current", "inactive_file"};

// A limit of any ancestor holds for the group, so all of them are looked at. Inside a container the group's
// own path may not be mounted: its absent files are passed over and the mount's root, the container's,
// counts.
void apply_limits(const fs::path& mount, fs::path group, const ControllerFiles& files, MemoryInfo& info) {
  while (true) {
    const fs::path directory = mount / group.relative_path();
    const auto limit = number_in(directory / files.limit);
    const auto used = number_in(directory / files.used);
    if (limit && used) {
      const size_t inactive = number_after(directory / "memory.stat", files.inactive).value_or(0);
      const size_t held = *used - std::min(*used, inactive);
      info.total = std::min(info.total, *limit);
      info.free = std::min(info.free, *limit - std::min(*limit, held));
    }
    if (!group.has_relative_path()) return;
    group = group.parent_path();
  }
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

MemoryInfo memory_info(const std::string& root) {
  const fs::path base(root);
  const auto total = number_after(base / "proc/meminfo", "MemTotal:");
  const auto available = number_after(base / "proc/meminfo", "MemAvailable:");
  if (!total || !available) {
    throw std::runtime_error("cannot read MemTotal and MemAvailable from " +
                             (base / "proc/meminfo").string());
  }
  MemoryInfo info{*available * 1024, *total * 1024};
  // Lines are "hierarchy:controllers:path"; version 2 has no controllers there.
  std::ifstream groups(base / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") apply_limits(base / "sys/fs/cgroup", path, kVersion2, info);
    if (controllers.find(",memory,") != std::string::npos) {
      apply_limits(base / "sys/fs/cgroup/memory", path, kVersion1, info);
    }
  }
  return info;
}

}  // namespace batchmax::kernels::cpu
