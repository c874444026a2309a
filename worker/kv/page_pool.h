// Which pages of the KV cache are free. Bookkeeping only, no memory: the leader owns the one PagePool of its
// group, page ids mean the same on every rank. One thread.
//
// Invariant: every page in [0, capacity) is either free or held by exactly one holder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace batchmax::worker {

class PagePool {
 public:
  explicit PagePool(int32_t capacity);

  int32_t capacity() const { return static_cast<int32_t>(held_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }

  // REQUIRES count <= free(): whoever asks has reserved before.
  std::vector<int32_t> take(int32_t count);
  // REQUIRES that each of them is held.
  void give_back(std::span<const int32_t> pages);

 private:
  std::vector<int32_t> free_;  // a stack: pages used last are granted first, they may still be in a cache
  std::vector<bool> held_;
};

}  // namespace batchmax::worker
