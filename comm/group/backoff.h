// How a rank waits when nothing wakes it: MPI can only be asked again and again. Asking without pause answers
// fastest and burns a core; so the pauses grow with the time waited so far, and what a pause may add to a
// wait stays a small part of that wait.
//   first            asks at once again: spins, then gives the core to whoever needs it
//   after `hot`      sleeps an eighth of the time waited so far, at least 20 us, at most `longest_sleep`
// One thread; one Backoff per wait.
#pragma once

#include <chrono>

namespace batchmax::comm {

class Backoff {
 public:
  struct Policy {
    std::chrono::microseconds spin;  // of `hot`, without even yielding; 0 where ranks outnumber cores
    std::chrono::microseconds hot;
    std::chrono::microseconds longest_sleep;
  };

  explicit Backoff(const Policy& policy) : policy_(policy), begin_(std::chrono::steady_clock::now()) {}

  // After each question that was answered "not yet": while hot, spins or yields for a moment and returns 0;
  // then returns how long to sleep.
  std::chrono::microseconds next();
  // next(), and the sleep.
  void pause();

 private:
  const Policy policy_;
  const std::chrono::steady_clock::time_point begin_;
};

// Cores that this process may run on.
int usable_cores();

}  // namespace batchmax::comm
