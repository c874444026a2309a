#include "worker/leader/group_messages.h"

#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

comm::pb::FinishReason reason_of(EndReason reason) {
  switch (reason) {
    case EndReason::stop:
      return comm::pb::FINISH_STOP;
    case EndReason::length:
      return comm::pb::FINISH_LENGTH;
    case EndReason::cancelled:
      return comm::pb::FINISH_CANCELLED;
    case EndReason::error:
      return comm::pb::FINISH_ERROR;
  }
  return comm::pb::FINISH_UNSPECIFIED;
}

void fill(comm::pb::StepTime& time, const StepHistogram& histogram) {
  time.set_count(histogram.count);
  time.set_seconds(histogram.seconds);
  for (const uint64_t bucket : histogram.buckets) time.add_buckets(bucket);
}

void fill(comm::pb::TokenLogprob& message, const kernels::TokenLogprob& logprob) {
  message.set_logprob(logprob.logprob);
  message.set_rank(static_cast<uint32_t>(logprob.rank));
  for (int32_t i = 0; i < logprob.top; ++i) {
    message.add_top_ids(static_cast<uint32_t>(logprob.top_ids[i]));
    message.add_top_logprobs(logprob.top_logprobs[i]);
  }
}

}  // namespace

comm::pb::Frame to_frame(const TokenMade& made) {
  comm::pb::Frame frame;
  auto& tokens = *frame.mutable_tokens();
  tokens.set_request(made.request);
  tokens.set_attempt(made.attempt);
  tokens.set_index(made.index);
  tokens.add_ids(static_cast<uint32_t>(made.id));
  if (made.logprob) fill(*tokens.add_logprobs(), *made.logprob);
  return frame;
}

comm::pb::Frame to_frame(const PromptScored& scored) {
  comm::pb::Frame frame;
  auto& message = *frame.mutable_prompt_logprobs();
  message.set_request(scored.request);
  message.set_attempt(scored.attempt);
  message.set_position(static_cast<uint32_t>(scored.position));
  for (const kernels::TokenLogprob& logprob : scored.logprobs) fill(*message.add_logprobs(), logprob);
  return frame;
}

comm::pb::Frame to_frame(const PagesReleased& released) {
  comm::pb::Frame frame;
  auto& message = *frame.mutable_released();
  message.set_request(released.request);
  message.set_attempt(released.attempt);
  message.set_pages(static_cast<uint32_t>(released.pages));
  return frame;
}

comm::pb::Frame to_frame(const SequenceEnded& ended, uint64_t kv_bytes_per_slot) {
  comm::pb::Frame frame;
  auto& finished = *frame.mutable_finished();
  finished.set_request(ended.request);
  finished.set_attempt(ended.attempt);
  finished.set_reason(reason_of(ended.reason));
  finished.set_output_tokens(static_cast<uint32_t>(ended.output_tokens));
  finished.set_kv_bytes_held(static_cast<uint64_t>(ended.slots_held) * kv_bytes_per_slot);
  finished.set_kv_bytes_peak(static_cast<uint64_t>(ended.slots_peak) * kv_bytes_per_slot);
  finished.set_tokens_evicted(static_cast<uint64_t>(ended.tokens_evicted));
  finished.set_error(ended.error);
  finished.set_prefill_seconds(ended.prefill_seconds);
  return frame;
}

comm::pb::Frame to_load(const GroupReport& report, uint64_t kv_bytes_per_slot) {
  const SchedulerFigures& figures = report.figures;
  const auto count = [](int64_t value) {
    CHECK_GE(value, 0);
    return static_cast<uint64_t>(value);
  };
  comm::pb::Frame frame;
  auto& load = *frame.mutable_load();
  load.set_pages_free(static_cast<uint32_t>(figures.pages_free));
  load.set_pages_reserved(static_cast<uint32_t>(figures.pages_reserved));
  load.set_sequences_running(static_cast<uint32_t>(figures.sequences_running));
  load.set_sequences_prefill(static_cast<uint32_t>(figures.sequences_prefill));
  load.set_kv_bytes_held(count(figures.slots_held) * kv_bytes_per_slot);
  load.set_kv_bytes_peak(count(figures.slots_peak) * kv_bytes_per_slot);
  load.set_kv_bytes_full_attention(count(figures.slots_full_attention) * kv_bytes_per_slot);
  load.set_prompt_tokens_total(count(figures.prompt_tokens_total));
  load.set_generation_tokens_total(count(figures.generation_tokens_total));
  load.set_steps_total(count(figures.steps_total));
  auto& evicted = *load.mutable_tokens_evicted_total();
  evicted["prefill"] = count(figures.evicted_prefill_total);
  evicted["decode"] = count(figures.evicted_decode_total);
  auto& times = *load.mutable_step_time();
  fill(times["prefill"], report.times.prefill);
  fill(times["decode"], report.times.decode);
  fill(times["mixed"], report.times.mixed);
  fill(times["all_reduce"], report.times.all_reduce);
  fill(times["selection"], report.times.selection);
  fill(times["plan"], report.times.plan);
  return frame;
}

}  // namespace batchmax::worker
