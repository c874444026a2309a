// Runs StepPlans on one rank: page tables, inputs, the model, sampling, victim queues. What a sequence drew
// last stays in the backend's memory and feeds its next step. All memory is allocated when it is made. Step
// thread.
#pragma once

#include <deque>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/event.h"
#include "kernels/core/stream.h"
#include "monitoring/clock.h"
#include "worker/executor/decode_graphs.h"
#include "worker/executor/input_staging.h"
#include "worker/executor/logit_state.h"
#include "worker/executor/step_executor.h"
#include "worker/kv/kv_cache.h"
#include "worker/model/model.h"
#include "worker/model/step_timer.h"

namespace batchmax::worker {

class Executor final : public StepExecutor {
 public:
  struct Parts {  // outlive the executor
    const kernels::Stream* stream = nullptr;
    Model* model = nullptr;
    KvCache* cache = nullptr;
    const monitoring::Clock* clock = nullptr;
    LogitState* logit_state = nullptr;
  };
  struct Options {
    int lookahead = 0;  // 0 or 1, see step_executor.h
    // Kinds of decode rows whose steps are recorded as graphs. Only where the backend offers graphs.
    std::vector<RowKind> graph_kinds;
    int rank = 0;  // for what is thrown
  };
  // limits: of every plan that will be launched. Records the graphs: seconds for a large model.
  Executor(const Parts& parts, ReplicaFacts facts, const StepLimits& limits, const Options& options);

  const ReplicaFacts& facts() const override { return facts_; }
  int lookahead() const override { return options_.lookahead; }
  // Throw std::runtime_error naming rank and step where the backend failed; the group is broken then.
  void launch(const StepPlan& plan) override;
  StepResult collect() override;

  size_t graphs() const { return graphs_.size(); }

 private:
  struct Launched {
    uint64_t step;
    size_t samples;
    int copy;  // of the host memory that its results arrive in
    StepTiming timing;
    size_t logprobs;
  };
  struct Copy {  // what a step under way has of its own
    kernels::PinnedBuffer results;
    kernels::Event done;
    kernels::PinnedBuffer logprobs;
  };
  void record_graphs();
  void run(const StepPlan& plan, int copy);
  void draw(const StagedStep& staged);
  void score(const StagedStep& staged);
  kernels::Tensor ids(size_t count) const;
  kernels::Tensor last_token() const;

  Parts parts_;
  ReplicaFacts facts_;
  Options options_;
  StepLimits limits_;
  size_t marks_at_;  // bytes from the start of the results: ids, then times
  InputStaging staging_;
  kernels::Buffer last_token_;  // i32 [max_sequences]
  kernels::Buffer results_;     // ids i32 [max_sequences], then the timer's marks
  kernels::Buffer logprobs_;    // TokenLogprob [tokens of the largest step]
  StepTimer timer_;
  DecodeGraphs graphs_;
  std::vector<Copy> copies_;
  std::deque<Launched> launched_;
  int next_copy_ = 0;
};

}  // namespace batchmax::worker
