// What a sequence's row asks of the logits: the draw, adjustments before it, log probabilities. Pure
// functions of the request and the row: nothing here depends on drawn ids, so that steps can be planned
// ahead.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/leader/sequence.h"
#include "worker/leader/sequence_request.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

kernels::SampleRow sample_of(const SequenceRequest& request, const kernels::Row& row);

// A row's log probabilities among the plan's, in this order.
struct LogprobSpan {
  int32_t position = 0;  // in the prompt, of the first of the following
  int32_t prompt = 0;    // tokens of the prompt
  bool drawn = false;    // the drawn token
};

// Adds what the planned row needs to plan.counted, adjusted and logprobs. REQUIRES that the row's tokens have
// their places and that its sample, if it has one, is the plan's last.
LogprobSpan plan_logits(const SequenceRequest& request, const PlannedRow& planned, StepPlan& plan);
// Afterwards, once: samples after the last that is adjusted.
void complete_adjustments(StepPlan& plan);

// What its draws look up: biases, then stop ids where they are banned for a while. Empty: nothing.
std::vector<kernels::LogitEntry> logit_entries(const SequenceRequest& request);

}  // namespace batchmax::worker
