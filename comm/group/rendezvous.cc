#include "comm/group/rendezvous.h"

#include <sched.h>

#include <stdexcept>

namespace batchmax::comm {
namespace {

constexpr int kYields = 200;  // some ten microseconds on an idle machine
constexpr uint64_t kLeft = 1;
constexpr uint64_t kMeeting = 2;

}  // namespace

void Rendezvous::meet() {
  uint64_t now = state_.load(std::memory_order_acquire);
  const uint64_t meeting = now / kMeeting;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    state_.fetch_add(kMeeting, std::memory_order_acq_rel);
    state_.notify_all();
    return;
  }
  for (int tries = 0;; ++tries) {
    now = state_.load(std::memory_order_acquire);
    if (now / kMeeting != meeting) return;
    if ((now & kLeft) != 0) throw std::runtime_error("a rank of this group has gone");
    if (tries < kYields) {
      ::sched_yield();
    } else {
      state_.wait(now, std::memory_order_acquire);
    }
  }
}

void Rendezvous::leave() {
  state_.fetch_or(kLeft, std::memory_order_acq_rel);
  state_.notify_all();
}

}  // namespace batchmax::comm
