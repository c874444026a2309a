// The small arrays of a step on their way to the backend: rows, samples, ids, positions. Fixed places in one
// buffer, one upload per step; a host copy for each step that may be under way. Step thread.
#pragma once

#include <vector>

#include "kernels/core/buffer.h"
#include "worker/model/model.h"
#include "worker/model/step_buffers.h"

namespace batchmax::worker {

struct StagedStep {
  StepInputs inputs;  // ids of decode rows are not yet filled in
  // Backend copies of the plan's arrays of these names
  const kernels::SampleRow* samples_data = nullptr;
  const kernels::CountRow* counted_data = nullptr;
  const kernels::AdjustRow* adjusted_data = nullptr;
  const kernels::LogprobRow* logprobs_data = nullptr;
  kernels::Tensor logprob_tokens;  // [N] i32, of plan->logprobs
};

class InputStaging {
 public:
  // copies: steps that may be under way at once.
  InputStaging(const kernels::Stream& stream, const StepLimits& limits, int copies);

  // Copies the plan's arrays into host copy `copy` and hands them to the stream. REQUIRES that the last step
  // staged in that copy is done. The result refers to the plan. rows: the plan's, or more of a step that only
  // decodes and draws for every row: rows, tokens, samples and adjustments of padding follow in the
  // backend's copy.
  StagedStep stage(const kernels::Stream& stream, const StepPlan& plan, int copy, int32_t rows);

 private:
  struct Places {  // bytes from the start of the buffer
    explicit Places(const StepLimits& limits);
    size_t rows, victim_rows, samples, sample_tokens, counted, adjusted, ids, positions, rope_tables;
    size_t logprobs, logprob_tokens;  // the last: most steps have none and leave them out
    size_t end;
  };
  StepLimits limits_;
  Places places_;
  kernels::Buffer device_;
  std::vector<kernels::PinnedBuffer> host_;
};

}  // namespace batchmax::worker
