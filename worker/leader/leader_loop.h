// The step thread of a group's leader: takes events from the inbox, plans, broadcasts, executes, answers into
// the outbox. While nothing runs it sleeps on the inbox and makes a round trip through all ranks once a
// second.
#pragma once

#include <deque>

#include "comm/group/control_group.h"
#include "monitoring/clock.h"
#include "monitoring/log.h"
#include "monitoring/progress.h"
#include "worker/executor/step_executor.h"
#include "worker/leader/bounded_queue.h"
#include "worker/leader/events.h"
#include "worker/leader/group_report.h"
#include "worker/leader/scheduler.h"

namespace batchmax::worker {

using Inbox = BoundedQueue<InboxEvent>;
using Outbox = BoundedQueue<OutboxEvent>;

class LeaderLoop {
 public:
  // Everything named here outlives the loop. group.rank() is 0.
  LeaderLoop(const SchedulerLimits& limits, comm::ControlGroup& group, StepExecutor& executor, Inbox& inbox,
             Outbox& outbox, GroupReportBoard& board, monitoring::Progress& progress,
             const monitoring::Clock& clock, monitoring::Log log);

  // Returns after a Stop, when the other ranks have been told to end. Exceptions of group and executor pass
  // through: the group is broken then.
  void run();

 private:
  void handle(std::deque<InboxEvent> events);
  void launch_ahead();
  void collect();
  void answer();
  void round_trip();
  void send(const StepPlan& plan);
  void publish();

  comm::ControlGroup& group_;
  StepExecutor& executor_;
  Inbox& inbox_;
  Outbox& outbox_;
  GroupReportBoard& board_;
  monitoring::Progress& progress_;
  const monitoring::Clock& clock_;
  monitoring::Log log_;
  Scheduler scheduler_;
  GroupReport report_;
  std::deque<StepPlan> launched_;  // oldest first, without tokens and tables: for the books
  double host_seconds_ = 0;        // host work since the last collected step
  bool stopping_ = false;
};

// The step thread of every other rank: executes what the leader broadcasts, until it says shutdown. It has no
// policy of its own, so ranks cannot disagree.
void run_follower(comm::ControlGroup& group, StepExecutor& executor, monitoring::Progress& progress);

}  // namespace batchmax::worker
