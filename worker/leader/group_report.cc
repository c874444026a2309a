#include "worker/leader/group_report.h"

namespace batchmax::worker {

void StepHistogram::add(double value) {
  ++count;
  seconds += value;
  for (size_t i = 0; i < buckets.size(); ++i) {
    if (value <= monitoring::kStepSecondsBuckets[i]) ++buckets[i];
  }
}

void StepTimes::add(const StepPlan& step, const StepSeconds& taken) {
  const bool decodes = step.decode_rows() > 0;
  const bool prefills = !step.prompt_tokens.empty();
  (decodes && prefills ? mixed : decodes ? decode : prefill).add(taken.total);
  all_reduce.add(taken.all_reduce);
  selection.add(taken.selection);
}

}  // namespace batchmax::worker
