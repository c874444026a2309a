// The coordinator of the measurement, in a process of its own: the product's cluster and gateway on one event
// loop, without a launcher.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "bench/scale/submit_times.h"

namespace batchmax::bench {

struct CoordinatorProcess {
  pid_t pid = 0;
  uint16_t http_port = 0;
  uint16_t groups_port = 0;
  std::string settings_digest;  // which groups must share

  double cpu_seconds() const;  // used so far, all threads
  double resident_bytes() const;
  void end() const;
};

// Forks. REQUIRES that this process has one thread. Ends with its parent.
CoordinatorProcess start_coordinator(SubmitTimes& times);

}  // namespace batchmax::bench
