// The small arrays of a step on their way to the backend: rows, samples, ids, positions. Fixed places in one
// buffer, one upload per step; a host copy for each step that may be under way. Step thread.
#pragma once

#include <vector>

#include "kernels/core/buffer.h"
#include "worker/model/model.h"
#include "worker/model/step_buffers.h"

namespace batchmax::worker {

struct StagedStep {
  StepInputs inputs;                                 // ids of decode rows are not yet filled in
  const kernels::SampleRow* samples_data = nullptr;  // backend copy of plan->samples
};

class InputStaging {
 public:
  // copies: steps that may be under way at once.
  InputStaging(const kernels::Stream& stream, const StepLimits& limits, int copies);

  // Copies the plan's arrays into host copy `copy` and hands them to the stream. REQUIRES that the last step
  // staged in that copy is done. The result refers to the plan. rows: the plan's, or more of a step that only
  // decodes and draws for every row: rows, tokens and samples of padding follow in the backend's copy.
  StagedStep stage(const kernels::Stream& stream, const StepPlan& plan, int copy, int32_t rows);

 private:
  struct Places {  // bytes from the start of the buffer
    explicit Places(const StepLimits& limits);
    size_t rows, victim_rows, samples, sample_tokens, ids, positions, rope_tables, end;
  };
  StepLimits limits_;
  Places places_;
  kernels::Buffer device_;
  std::vector<kernels::PinnedBuffer> host_;
};

}  // namespace batchmax::worker
