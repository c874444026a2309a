// How a rank's step thread gets on, for the watchdog that ends the process when it does not. One thread
// reports, any other reads. A report costs a look at the clock and three stores.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "monitoring/clock.h"

namespace batchmax::monitoring {

class Progress {
 public:
  // How long the thread may be silent.
  enum class Pace : uint8_t {
    any,       // loading, ending: as long as it takes
    starting,  // until the first step is done: code is loaded, algorithms are chosen
    running,   // in a step, or waiting for ranks that speak at least once a second
  };
  // The clock outlives it.
  explicit Progress(const Clock& clock) : clock_(clock) {}

  // ---- The reporting thread. Each call is a sign of progress.
  void begin_step();
  void tick();      // within a step: one more layer is done
  void end_step();  // the oldest step without an end
  void ask();       // other ranks are asked to answer
  void listen();    // for what comes next
  void rest();      // nothing is expected any more

  // ---- Any thread.
  struct Reading {
    Pace pace = Pace::any;
    TimePoint last{};          // sign of progress
    Duration usual_longest{};  // 99 of 100 signs within steps came sooner than that after the one before; 0:
                               // none yet
  };
  Reading read() const;

 private:
  void sign(Pace pace);
  void count_gap();
  Pace in_steps() const;

  const Clock& clock_;
  std::atomic<Pace> pace_{Pace::any};
  std::atomic<int64_t> last_{0};                  // ns of the clock
  std::array<std::atomic<uint32_t>, 64> gaps_{};  // by the bits of their ns
  // Of the reporting thread alone.
  uint64_t begun_ = 0, ended_ = 0;
  bool heard_ = false;
};

}  // namespace batchmax::monitoring
