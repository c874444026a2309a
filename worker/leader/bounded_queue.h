// The way from one thread to one other: a bounded first-in first-out queue. The reader sleeps on a condition
// variable, or is told by a wake-up call that a queue that was empty no longer is. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

namespace batchmax::worker {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Called after a push into an empty queue, on the pushing thread and without a lock held. Set before the
  // first push.
  void on_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  // Waits for room. False: closed, the values are dropped.
  bool push(T value) {
    std::vector<T> one;
    one.push_back(std::move(value));
    return push_all(std::move(one));
  }
  bool push_all(std::vector<T> values) {
    if (values.empty()) return true;
    bool was_empty = false;
    {
      std::unique_lock lock(mutex_);
      // A batch larger than the capacity may overfill an empty queue: it must go somewhere.
      room_.wait(lock,
                 [&] { return closed_ || items_.empty() || items_.size() + values.size() <= capacity_; });
      if (closed_) return false;
      was_empty = items_.empty();
      std::move(values.begin(), values.end(), std::back_inserter(items_));
    }
    if (was_empty) {
      filled_.notify_one();
      if (wake_) wake_();
    }
    return true;
  }
  // False: full or closed, `value` is untouched.
  bool try_push(T& value) {
    bool was_empty = false;
    {
      const std::scoped_lock lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      was_empty = items_.empty();
      items_.push_back(std::move(value));
    }
    if (was_empty) {
      filled_.notify_one();
      if (wake_) wake_();
    }
    return true;
  }

  // Everything that is there.
  std::deque<T> drain() {
    const std::scoped_lock lock(mutex_);
    return take();
  }
  // The same, after waiting until something is; empty after `patience`, or once closed.
  std::deque<T> wait(std::chrono::nanoseconds patience) {
    std::unique_lock lock(mutex_);
    filled_.wait_for(lock, patience, [&] { return closed_ || !items_.empty(); });
    return take();
  }

  // Nobody reads any more: pushes fail from now on, and waiting ones return.
  void close() {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    room_.notify_all();
    filled_.notify_all();
  }

 private:
  std::deque<T> take() {
    std::deque<T> taken = std::exchange(items_, {});
    room_.notify_all();
    return taken;
  }

  const size_t capacity_;
  std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable room_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace batchmax::worker
