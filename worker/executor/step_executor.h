// What runs a StepPlan on one rank. The real one is Executor (executor.h); tests of the leader bring a fake.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// What one replica offers, measured at start; the same on every rank except where said.
struct ReplicaFacts {
  int32_t capacity_pages = 0;
  int32_t max_sequences = 0;    // rows of page tables: sequence indices are [0, max_sequences)
  int32_t max_table_pages = 0;  // entries of one page table
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_ids;
  uint64_t kv_bytes_per_slot = 0;  // all layers, all KV heads of all ranks: K, V, pos, mass
  uint64_t weight_bytes = 0;       // all ranks
  uint64_t kv_bytes = 0;           // all ranks
  uint64_t workspace_bytes = 0;    // all ranks: scratch of a step
  uint64_t free_bytes = 0;         // all ranks: left of the devices' memory after start
  int32_t kv_heads = 0;            // of the whole model
};

// Seconds of one step on this rank, by part; parts overlap nothing.
struct StepSeconds {
  double total = 0;
  double all_reduce = 0;
  double selection = 0;  // scores, selection, slot writes
};

struct StepResult {
  uint64_t step = 0;
  std::vector<int32_t> ids;  // one per plan.samples, in order
  StepSeconds seconds;
  std::vector<kernels::TokenLogprob> logprobs;  // one per plan.logprobs, in order
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  virtual const ReplicaFacts& facts() const = 0;
  // How many steps may be launched ahead of the one that is collected: 0 on the CPU (launch does the work), 1
  // on a GPU (sampled ids stay on the device and feed the next step).
  virtual int lookahead() const = 0;
  virtual void launch(const StepPlan& plan) = 0;
  virtual StepResult collect() = 0;  // of the oldest launched step; waits for it
};

}  // namespace batchmax::worker
