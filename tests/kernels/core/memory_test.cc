#include "kernels/core/cpu/memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace batchmax::kernels::cpu {
namespace {

namespace fs = std::filesystem;

// A directory that stands for the machine's root, and the files of proc/ and sys/ in it.
class MemoryInfoOf : public ::testing::Test {
 protected:
  MemoryInfoOf() {
    std::string name = (fs::temp_directory_path() / "batchmax-memory-XXXXXX").string();
    root_ = mkdtemp(name.data());
    write("proc/meminfo", "MemTotal:       1000 kB\nMemFree:         10 kB\nMemAvailable:    800 kB\n");
  }
  ~MemoryInfoOf() override { fs::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void expect(size_t free, size_t total) {
    const MemoryInfo info = memory_info(root_.string());
    EXPECT_EQ(info.free, free);
    EXPECT_EQ(info.total, total);
  }
  fs::path root_;
};

TEST_F(MemoryInfoOf, AMachineWithoutLimits) {
  expect(800 * 1024, 1000 * 1024);
  write("proc/self/cgroup", "0::/user\n");
  write("sys/fs/cgroup/user/memory.max", "max\n");
  write("sys/fs/cgroup/user/memory.current", "5000\n");
  expect(800 * 1024, 1000 * 1024);
}

TEST_F(MemoryInfoOf, AGroupWithALimit) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/memory.max", "100000\n");
  write("sys/fs/cgroup/a/b/memory.current", "40000\n");
  expect(60000, 100000);
  write("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 15000\n");
  expect(75000, 100000);
}

TEST_F(MemoryInfoOf, AnAncestorWithALowerLimit) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/memory.max", "100000\n");
  write("sys/fs/cgroup/a/b/memory.current", "40000\n");
  write("sys/fs/cgroup/a/memory.max", "90000\n");
  write("sys/fs/cgroup/a/memory.current", "80000\n");
  expect(10000, 90000);
}

TEST_F(MemoryInfoOf, AContainerThatSeesOnlyItsOwnRoot) {
  write("proc/self/cgroup", "0::/docker/0123\n");
  write("sys/fs/cgroup/memory.max", "50000\n");
  write("sys/fs/cgroup/memory.current", "60000\n");
  expect(0, 50000);
}

TEST_F(MemoryInfoOf, AGroupOfTheFirstVersion) {
  write("proc/self/cgroup", "7:cpu,cpuacct:/x\n5:memory:/x\n");
  write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "70000\n");
  write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "30000\n");
  write("sys/fs/cgroup/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 5000\n");
  expect(45000, 70000);
}

TEST_F(MemoryInfoOf, NothingReadable) {
  fs::remove(root_ / "proc/meminfo");
  EXPECT_THROW(memory_info(root_.string()), std::runtime_error);
}

}  // namespace
}  // namespace batchmax::kernels::cpu
