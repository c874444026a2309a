// When each request was given to the cluster, in memory that the coordinator's process and the simulated
// groups share. A request is known by the seed that its client chose.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace batchmax::bench {

class SubmitTimes {
 public:
  static constexpr uint64_t kMost = 1 << 20;  // requests of one run

  // Before the processes part.
  SubmitTimes() {
    void* memory = ::mmap(nullptr, kMost * sizeof(std::atomic<int64_t>), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    times_ = static_cast<std::atomic<int64_t>*>(memory);
  }
  SubmitTimes(const SubmitTimes&) = delete;
  SubmitTimes& operator=(const SubmitTimes&) = delete;

  static int64_t now() {  // ns; one clock for all processes of a machine
    return std::chrono::steady_clock::now().time_since_epoch().count();
  }
  void submitted(uint64_t seed) { times_[seed % kMost].store(now(), std::memory_order_release); }
  double seconds_since(uint64_t seed) const {
    return 1e-9 * static_cast<double>(now() - times_[seed % kMost].load(std::memory_order_acquire));
  }

 private:
  std::atomic<int64_t>* times_;
};

}  // namespace batchmax::bench
