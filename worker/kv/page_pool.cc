#include "worker/kv/page_pool.h"

#include "monitoring/check.h"

namespace batchmax::worker {

PagePool::PagePool(int32_t capacity) : held_(static_cast<size_t>(capacity), false) {
  CHECK_GE(capacity, 0);
  for (int32_t page = capacity; page-- > 0;) free_.push_back(page);
}

std::vector<int32_t> PagePool::take(int32_t count) {
  CHECK_GE(count, 0);
  CHECK_LE(count, free());
  std::vector<int32_t> pages;
  pages.reserve(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
    held_[static_cast<size_t>(pages.back())] = true;
  }
  return pages;
}

void PagePool::give_back(std::span<const int32_t> pages) {
  for (const int32_t page : pages) {
    CHECK_GE(page, 0);
    CHECK_LT(page, capacity());
    CHECK(held_[static_cast<size_t>(page)]);
    held_[static_cast<size_t>(page)] = false;
    free_.push_back(page);
  }
}

}  // namespace batchmax::worker
