// Seconds since it was made, on an injected clock.
#pragma once

#include <chrono>

#include "monitoring/clock.h"

namespace batchmax::worker {

class Stopwatch {
 public:
  explicit Stopwatch(const monitoring::Clock& clock) : clock_(clock), start_(clock.now()) {}
  double seconds() const { return std::chrono::duration<double>(clock_.now() - start_).count(); }

 private:
  const monitoring::Clock& clock_;
  monitoring::TimePoint start_;
};

}  // namespace batchmax::worker
