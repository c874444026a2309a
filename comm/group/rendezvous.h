// A meeting point of the threads of one group. Waits by yielding for a short while, then asleep.
#pragma once

#include <atomic>
#include <cstdint>

namespace batchmax::comm {

class Rendezvous {
 public:
  explicit Rendezvous(int size) : size_(size) {}
  // Returns when all `size` threads have come; what each wrote before is visible to all. Throws
  // std::runtime_error when one of them never will.
  void meet();
  // The calling thread will not come again. Meetings that are complete are not disturbed.
  void leave();

 private:
  const int size_;
  std::atomic<int> arrived_{0};
  std::atomic<uint64_t> state_{0};  // 2 * meetings + (somebody left)
};

}  // namespace batchmax::comm
