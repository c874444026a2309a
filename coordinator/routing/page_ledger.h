// The coordinator's books of one group's KV pages: capacity from Hello, minus what was sent, plus Finished,
// plus Released. The group is never asked to hold what these books do not have, so it never has to refuse or
// queue. A pure state machine.
//
// Invariants: 0 <= reserved() <= capacity(); reserved() is the sum over the sequences; sequences() <= their
// limit.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace batchmax::coordinator {

class PageLedger {
 public:
  PageLedger(int32_t capacity_pages, int32_t max_sequences)
      : capacity_(capacity_pages), limit_(max_sequences) {}

  bool has_room(int32_t pages) const { return sequences() < limit_ && pages <= headroom(); }
  void reserve(uint64_t request, uint32_t attempt,
               int32_t pages);  // REQUIRES room, and no entry for `request`

  enum class Booked : uint8_t {
    done,
    unknown,   // no such sequence (any more); nothing was changed
    too_many,  // it does not hold so many pages; nothing was changed
  };
  // Pages of a sequence before its end: it keeps one at least. And all that it still has.
  Booked release(uint64_t request, uint32_t attempt, int32_t pages);
  Booked finish(uint64_t request, uint32_t attempt);

  int32_t capacity() const { return capacity_; }
  int32_t reserved() const { return reserved_; }
  int32_t headroom() const { return capacity_ - reserved_; }
  int32_t sequences() const { return static_cast<int32_t>(entries_.size()); }
  std::vector<uint64_t> requests() const;  // in ascending order

 private:
  struct Entry {
    uint32_t attempt;
    int32_t pages;
  };
  int32_t capacity_;
  int32_t limit_;
  int32_t reserved_ = 0;
  std::unordered_map<uint64_t, Entry> entries_;  // by request
};

}  // namespace batchmax::coordinator
