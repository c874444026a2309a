#include "worker/leader/row_logits.h"

#include <algorithm>

#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

kernels::AdjustRow no_adjustment() {
  kernels::AdjustRow row{};
  row.sequence = kernels::kNoSequence;
  row.repetition = 1;
  return row;
}

void count(const SequenceRequest& request, const kernels::Row& row, StepPlan& plan) {
  kernels::CountRow counted{};
  counted.sequence = row.sequence;
  counted.token_begin = row.token_begin;
  counted.token_count = row.token_count;
  counted.prompt_count = std::clamp(request.prompt_length - row.position, 0, row.token_count);
  counted.restart = row.position == 0 ? 1 : 0;
  plan.counted.push_back(counted);
}

void adjust(const SequenceRequest& request, const kernels::Row& row, StepPlan& plan) {
  const int32_t index = row.position + row.token_count - request.prompt_length;  // of the drawn token
  kernels::AdjustRow adjusted{};
  adjusted.sequence = row.sequence;
  adjusted.biases = static_cast<int32_t>(request.logit_bias.size());
  adjusted.ban_begin = adjusted.biases;
  adjusted.bans = index < request.min_tokens ? static_cast<int32_t>(request.stop_ids.size()) : 0;
  adjusted.repetition = request.sampling.repetition_penalty;
  adjusted.presence = request.sampling.presence_penalty;
  adjusted.frequency = request.sampling.frequency_penalty;
  if (adjusted.biases == 0 && adjusted.bans == 0 && !kernels::is_penalised(adjusted)) return;
  plan.adjusted.resize(plan.samples.size(), no_adjustment());
  plan.adjusted.back() = adjusted;
}

LogprobSpan score(const SequenceRequest& request, const PlannedRow& planned, StepPlan& plan) {
  const kernels::Row& row = planned.row;
  LogprobSpan span;
  if (request.prompt_logprobs_from > 0) {
    // A token's logits speak of the next one.
    const int32_t begin = std::max(row.position + 1, request.prompt_logprobs_from);
    const int32_t end = std::min(row.position + row.token_count + 1, request.prompt_length);
    span.position = begin;
    span.prompt = std::max(0, end - begin);
    for (int32_t position = begin; position < end; ++position) {
      plan.logprobs.push_back({row.token_begin + position - 1 - row.position,
                               request.tokens[static_cast<size_t>(position)], 0, request.logprobs});
    }
  }
  span.drawn = planned.samples && request.logprobs >= 0;
  if (span.drawn) {
    plan.logprobs.push_back({row.token_begin + row.token_count - 1, -1,
                             static_cast<int32_t>(plan.samples.size()) - 1, request.logprobs});
  }
  return span;
}

}  // namespace

kernels::SampleRow sample_of(const SequenceRequest& request, const kernels::Row& row) {
  const Sampling& sampling = request.sampling;
  kernels::SampleRow sample{};
  sample.seed = sampling.seed;
  sample.choice = sampling.choice;
  sample.position = row.position + row.token_count;
  sample.temperature = sampling.temperature;
  sample.top_p = sampling.top_p;
  sample.min_p = sampling.min_p;
  sample.top_k = sampling.top_k;
  sample.token = row.token_begin + row.token_count - 1;
  sample.sequence = row.sequence;
  return sample;
}

LogprobSpan plan_logits(const SequenceRequest& request, const PlannedRow& planned, StepPlan& plan) {
  if (request.sampling.penalised()) count(request, planned.row, plan);
  if (planned.samples) adjust(request, planned.row, plan);
  return score(request, planned, plan);
}

void complete_adjustments(StepPlan& plan) {
  if (!plan.adjusted.empty()) plan.adjusted.resize(plan.samples.size(), no_adjustment());
}

std::vector<kernels::LogitEntry> logit_entries(const SequenceRequest& request) {
  std::vector<kernels::LogitEntry> entries = request.logit_bias;
  if (request.bans_stop_ids()) {
    for (const int32_t id : request.stop_ids) entries.push_back({id, 0});
  }
  CHECK_LE(entries.size(), static_cast<size_t>(kMaxLogitEntries));
  return entries;
}

}  // namespace batchmax::worker
