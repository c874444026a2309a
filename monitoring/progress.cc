#include "monitoring/progress.h"

#include <algorithm>
#include <bit>

namespace batchmax::monitoring {

void Progress::sign(Pace pace) {
  last_.store(clock_.now().time_since_epoch().count(), std::memory_order_relaxed);
  // After the time: who reads the pace finds a time at least as new.
  pace_.store(pace, std::memory_order_release);
}

// The first step says nothing about the others.
void Progress::count_gap() {
  if (ended_ == 0) return;
  const int64_t gap = clock_.now().time_since_epoch().count() - last_.load(std::memory_order_relaxed);
  auto& bucket = gaps_[static_cast<size_t>(std::bit_width(static_cast<uint64_t>(gap)))];
  bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

Progress::Pace Progress::in_steps() const {
  return begun_ > 0 && ended_ == 0 ? Pace::starting : Pace::running;
}

void Progress::begin_step() {
  heard_ = true;
  ++begun_;
  sign(in_steps());
}

void Progress::tick() {
  count_gap();
  sign(in_steps());
}

void Progress::end_step() {
  count_gap();
  ++ended_;
  sign(in_steps());
}

void Progress::ask() {
  heard_ = true;
  sign(in_steps());
}

// The others may still be loading when nobody has spoken yet.
void Progress::listen() { sign(heard_ ? in_steps() : Pace::starting); }

void Progress::rest() { sign(Pace::any); }

Progress::Reading Progress::read() const {
  Reading reading;
  reading.pace = pace_.load(std::memory_order_acquire);
  reading.last = TimePoint(Duration(last_.load(std::memory_order_relaxed)));
  uint64_t all = 0;
  for (const auto& bucket : gaps_) all += bucket.load(std::memory_order_relaxed);
  uint64_t longer = 0;
  for (size_t bits = gaps_.size(); bits-- > 0;) {
    longer += gaps_[bits].load(std::memory_order_relaxed);
    if (longer * 100 <= all) continue;
    reading.usual_longest = Duration((int64_t{1} << std::min<size_t>(bits, 62)) - 1);
    break;
  }
  if (all == 0) reading.usual_longest = Duration(0);
  return reading;
}

}  // namespace batchmax::monitoring
