// Ends a rank whose step thread stands still: a kernel that hangs, a rank of its group that was stopped, a
// leader that is gone. Neither MPI nor NCCL notices any of these. It runs on a thread of its own that uses
// neither MPI nor CUDA and takes no lock that the step thread could hold. One rank that ends takes its whole
// mpirun with it, and the launcher starts the group anew.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "monitoring/progress.h"

namespace batchmax::worker {

// Exit status of a rank that its watchdog has ended.
inline constexpr int kStoodStill = 3;

// Why the process must end, for the operator; empty: all is well. Longest silence: 60 s until the first step
// is done, after that 2 s or ten times what 99 of 100 layers take, whichever is longer.
// awake_since: when this process last came back from standing still itself; such time does not count.
std::optional<std::string> too_silent(const monitoring::Progress::Reading& reading, monitoring::TimePoint now,
                                      monitoring::TimePoint awake_since);

class Watchdog {
 public:
  // end: called on the watchdog's thread, once. Progress and clock outlive the watchdog.
  Watchdog(const monitoring::Progress& progress, const monitoring::Clock& clock,
           std::function<void(const std::string& reason)> end);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch();

  const monitoring::Progress& progress_;
  const monitoring::Clock& clock_;
  const std::function<void(const std::string&)> end_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

// One line on standard error, then _exit(kStoodStill): nothing is unwound, for device, MPI and other ranks
// may hang.
[[noreturn]] void end_process(int rank, const std::string& reason);

}  // namespace batchmax::worker
