// What the executor runs: token ids in, logits out, the KV cache kept on the way. The real one is
// Transformer; tests inject others. Step thread.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "worker/model/step_timer.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// A step as a model sees it. Tensors are backend memory; the plan is on the host.
struct StepInputs {
  const StepPlan* plan = nullptr;
  kernels::Rows rows;             // all of plan->rows
  kernels::Rows victim_rows;      // copies of the rows that plan->victim_rows names
  kernels::Tensor ids;            // [T] i32
  kernels::Tensor positions;      // [T] i32
  kernels::Tensor rope_tables;    // [T] i32, rope table of each token
  kernels::Tensor sample_tokens;  // [R] i32, token rows whose logits are wanted, in order of plan->samples

  kernels::Rows rows_of(RowKind first, RowKind last) const {  // of all kinds from first to last
    const int32_t begin = plan->begin_of(first);
    return rows.sub(begin, plan->begin_of(last) + plan->count_of(last) - begin);
  }
};

class Model {
 public:
  virtual ~Model() = default;
  // Stores the step's tokens in the KV cache, cut down to what their rows keep. Returns the logits [R, V]
  // fp32 of the sampled rows, equal on all ranks; valid until the next call. R may be 0. Rows of a step that
  // only decodes may be padding (kNoSequence): nothing is stored for them and their logits mean nothing.
  virtual kernels::Tensor forward(const kernels::Stream& stream, const StepInputs& inputs,
                                  StepTimer& timer) = 0;
  // After forward of the same inputs, before select_victims: logits [n, V] fp32, equal on all ranks, of any
  // of the step's token rows. tokens: [n] i32, n <= plan->logprobs.size() and <= logits_at_once(). Valid
  // until the next call; what forward returned stays as it is.
  virtual kernels::Tensor logits_of(const kernels::Stream& stream, const StepInputs& inputs,
                                    const kernels::Tensor& tokens) = 0;
  virtual int64_t logits_at_once() const = 0;
  // After forward: refills the victim queues of inputs.victim_rows, in all layers.
  virtual void select_victims(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) = 0;
};

}  // namespace batchmax::worker
