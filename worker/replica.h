// One rank of a replica, made from the operator's settings: weights, KV cache, executor, all memory.
// Everything that can be wrong with model folder, memory and tensor parallelism is found here, before the
// first request.
#pragma once

#include <memory>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"
#include "config/settings.h"
#include "monitoring/clock.h"
#include "monitoring/log.h"
#include "monitoring/progress.h"
#include "worker/executor/step_executor.h"
#include "worker/leader/scheduler.h"

namespace batchmax::worker {

class Replica {
 public:
  virtual ~Replica() = default;
  virtual StepExecutor& executor() = 0;  // owned by the replica
  // What the leader's scheduler must keep within, the same on every rank.
  virtual const SchedulerLimits& scheduler_limits() const = 0;
};

// Call on the step thread of every rank: the ranks agree on the KV capacity, and the calling thread gets the
// CPU threads. groups, clock, log and progress outlive the replica. tensors: of the host; ranks on GPUs join
// over NCCL instead. Where the work on a GPU has failed, do not unwind: _exit
// (comm/group/nccl_tensor_group.h). Throws std::runtime_error with one line that says what is wrong and what
// would work.
std::unique_ptr<Replica> make_replica(const config::Settings& settings, comm::ControlGroup& control,
                                      comm::TensorGroup& tensors, const monitoring::Clock& clock,
                                      const monitoring::Log& log, monitoring::Progress& progress);

}  // namespace batchmax::worker
