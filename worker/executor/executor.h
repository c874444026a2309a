// Runs StepPlans on one rank: page tables, inputs, the model, sampling, victim queues. What a sequence drew
// last stays in the backend's memory and feeds its next step. All memory is allocated when it is made. Step
// thread.
#pragma once

#include <deque>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "monitoring/clock.h"
#include "worker/executor/input_staging.h"
#include "worker/executor/step_executor.h"
#include "worker/kv/kv_cache.h"
#include "worker/model/model.h"

namespace batchmax::worker {

class Executor final : public StepExecutor {
 public:
  struct Parts {  // outlive the executor
    const kernels::Stream* stream = nullptr;
    Model* model = nullptr;
    KvCache* cache = nullptr;
    const monitoring::Clock* clock = nullptr;
  };
  // limits: of every plan that will be launched. lookahead: 0 or 1, see step_executor.h.
  Executor(const Parts& parts, ReplicaFacts facts, const StepLimits& limits, int lookahead);

  const ReplicaFacts& facts() const override { return facts_; }
  int lookahead() const override { return lookahead_; }
  void launch(const StepPlan& plan) override;
  StepResult collect() override;

 private:
  struct Launched {
    uint64_t step;
    size_t samples;
    int copy;  // of the host memory that its ids arrive in
    StepSeconds seconds;
  };
  kernels::Tensor integers(const kernels::Buffer& buffer, size_t count) const;

  Parts parts_;
  ReplicaFacts facts_;
  int lookahead_;
  InputStaging staging_;
  kernels::Buffer last_token_;  // i32 [max_sequences]
  kernels::Buffer ids_;         // i32 [max_sequences]
  std::vector<kernels::PinnedBuffer> host_ids_;
  std::deque<Launched> launched_;
  int next_copy_ = 0;
};

}  // namespace batchmax::worker
