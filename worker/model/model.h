// What the executor runs: token ids in, logits out, the KV cache kept on the way. The real one is
// Transformer; tests inject others. Step thread.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// A step as a model sees it. Tensors are backend memory; the plan is on the host.
struct StepInputs {
  const StepPlan* plan = nullptr;
  kernels::Rows rows;           // all of plan->rows
  kernels::Tensor ids;          // [T] i32
  kernels::Tensor positions;    // [T] i32
  kernels::Tensor rope_tables;  // [T] i32, index of each token's rope table
  kernels::Tensor
      sample_tokens;  // [R] i32, the token rows whose logits are wanted, in order of plan->samples
};

// Seconds spent in parts of the forward pass; only the CPU backend, where work is done when a call returns,
// fills it.
struct PartSeconds {
  double all_reduce = 0;
  double selection = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  // Logits [R, V] fp32 of the sampled rows, equal on all ranks; valid until the next call. R may be 0.
  virtual kernels::Tensor forward(const kernels::Stream& stream, const StepInputs& inputs,
                                  PartSeconds& seconds) = 0;
};

}  // namespace batchmax::worker
