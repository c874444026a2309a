// What the step thread tells the I/O thread of the group's state: the latest report, no queue. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "monitoring/buckets.h"
#include "monitoring/clock.h"
#include "worker/executor/step_executor.h"
#include "worker/leader/scheduler.h"

namespace batchmax::worker {

struct StepHistogram {
  uint64_t count = 0;
  double seconds = 0;
  std::array<uint64_t, monitoring::kStepSecondsBuckets.size()> buckets{};  // cumulative
  void add(double value);
};

// Whole steps by phase, and parts of all steps.
struct StepTimes {
  StepHistogram prefill, decode, mixed;
  StepHistogram all_reduce, selection;
  StepHistogram plan;  // the leader's host work: plan, serialize, broadcast, bookkeeping
  void add(const StepPlan& plan, const StepSeconds& seconds);
};

struct GroupReport {
  SchedulerFigures figures;
  StepTimes times;
  uint64_t tick = 0;                      // grows with every sign of progress of the step thread
  monitoring::TimePoint last_round_trip;  // when all ranks were last known to answer
};

class GroupReportBoard {
 public:
  void publish(const GroupReport& report) {
    const std::scoped_lock lock(mutex_);
    report_ = report;
  }
  GroupReport read() const {
    const std::scoped_lock lock(mutex_);
    return report_;
  }

 private:
  mutable std::mutex mutex_;
  GroupReport report_;
};

}  // namespace batchmax::worker
