#include "coordinator/routing/group_messages.h"

#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

comm::pb::Compression::Mode mode_of(config::Mode mode) {
  switch (mode) {
    case config::Mode::off:
      return comm::pb::Compression::OFF;
    case config::Mode::decode:
      return comm::pb::Compression::DECODE;
    case config::Mode::full:
      break;
  }
  return comm::pb::Compression::FULL;
}

void fill(comm::pb::Compression& message, const config::Compression& compression) {
  message.set_mode(mode_of(compression.mode));
  message.set_budget(static_cast<uint32_t>(compression.budget));
  message.set_block(static_cast<uint32_t>(compression.block));
  message.set_sinks(static_cast<uint32_t>(compression.sinks));
  message.set_recent(static_cast<uint32_t>(compression.recent));
  message.set_prompt_tail(static_cast<uint32_t>(compression.prompt_tail));
  message.set_decode_block(static_cast<uint32_t>(compression.decode_block));
}

void fill(comm::pb::Sampling& message, const SamplingParameters& sampling) {
  message.set_temperature(sampling.temperature);
  message.set_top_p(sampling.top_p);
  message.set_min_p(sampling.min_p);
  message.set_top_k(static_cast<uint32_t>(sampling.top_k));
  message.set_seed(sampling.seed);
  message.set_choice(static_cast<uint32_t>(sampling.choice));
  message.set_presence_penalty(sampling.presence_penalty);
  message.set_frequency_penalty(sampling.frequency_penalty);
  message.set_repetition_penalty(sampling.repetition_penalty);
}

double phase_total(const comm::pb::Load& load, const char* phase) {
  const auto found = load.tokens_evicted_total().find(phase);
  return found == load.tokens_evicted_total().end() ? 0 : static_cast<double>(found->second);
}

}  // namespace

comm::pb::Frame to_submit(uint64_t request, const TokenRequest& asked, const TokenLog& log) {
  comm::pb::Frame frame;
  comm::pb::Submit& submit = *frame.mutable_submit();
  submit.set_request(request);
  submit.set_attempt(log.attempt());
  submit.mutable_tokens()->Add(log.tokens().begin(), log.tokens().end());
  submit.set_prompt_length(static_cast<uint32_t>(log.prompt_tokens()));
  submit.set_max_tokens(static_cast<uint32_t>(log.max_tokens()));
  submit.set_min_tokens(static_cast<uint32_t>(asked.min_tokens));
  submit.mutable_stop_ids()->Add(asked.stop_ids.begin(), asked.stop_ids.end());
  submit.set_pages(static_cast<uint32_t>(
      config::reservation(asked.compression, static_cast<int32_t>(log.tokens().size()), log.remaining())
          .pages));
  fill(*submit.mutable_compression(), asked.compression);
  fill(*submit.mutable_sampling(), asked.sampling);
  for (const LogitBias& bias : asked.logit_bias) {
    comm::pb::LogitBias& message = *submit.add_logit_bias();
    message.set_id(static_cast<uint32_t>(bias.id));
    message.set_bias(bias.bias);
  }
  submit.set_logprobs(static_cast<uint32_t>(asked.logprobs + 1));
  if (asked.prompt_logprobs && log.next_score() < log.prompt_tokens())
    submit.set_prompt_logprobs_from(static_cast<uint32_t>(log.next_score()));
  return frame;
}

comm::pb::Frame to_cancel(uint64_t request) {
  comm::pb::Frame frame;
  frame.mutable_cancel()->set_request(request);
  return frame;
}

std::optional<std::vector<TokenLogprob>> logprobs_of(const SentLogprobs& sent, uint32_t vocabulary) {
  std::vector<TokenLogprob> made;
  made.reserve(static_cast<size_t>(sent.size()));
  for (const comm::pb::TokenLogprob& one : sent) {
    if (one.top_ids_size() != one.top_logprobs_size() || one.rank() < 1 || one.rank() > vocabulary)
      return std::nullopt;
    TokenLogprob logprob{one.logprob(), static_cast<int32_t>(one.rank()), {}};
    for (int i = 0; i < one.top_ids_size(); ++i) {
      if (one.top_ids(i) >= vocabulary) return std::nullopt;
      logprob.top.push_back({static_cast<int32_t>(one.top_ids(i)), one.top_logprobs(i)});
    }
    made.push_back(std::move(logprob));
  }
  return made;
}

Dispatcher::Finish finish_of(const comm::pb::Finished& finished) {
  Dispatcher::Finish finish;
  finish.output_tokens = static_cast<int32_t>(finished.output_tokens());
  finish.end.kv_bytes_held = finished.kv_bytes_held();
  finish.end.kv_bytes_peak = finished.kv_bytes_peak();
  finish.end.tokens_evicted = finished.tokens_evicted();
  switch (finished.reason()) {
    case comm::pb::FINISH_STOP:
      finish.reason = FinishReason::stop;
      break;
    case comm::pb::FINISH_LENGTH:
      finish.reason = FinishReason::length;
      break;
    case comm::pb::FINISH_CANCELLED:
      break;
    default:
      finish.reason = FinishReason::error;
      finish.end.error = finished.error().empty() ? "The group of workers failed." : finished.error();
      break;
  }
  return finish;
}

monitoring::GroupFigures figures_of(const comm::pb::Hello& hello, const comm::pb::Load& load) {
  monitoring::GroupFigures figures;
  figures.pages_total = hello.capacity_pages();
  figures.weight_bytes = static_cast<double>(hello.weight_bytes());
  figures.kv_bytes = static_cast<double>(hello.kv_bytes());
  figures.workspace_bytes = static_cast<double>(hello.workspace_bytes());
  figures.free_bytes = static_cast<double>(hello.free_bytes());
  figures.pages_free = load.pages_free();
  figures.pages_reserved = load.pages_reserved();
  figures.sequences_running = load.sequences_running();
  figures.sequences_prefill = load.sequences_prefill();
  figures.kv_bytes_held = static_cast<double>(load.kv_bytes_held());
  figures.kv_bytes_peak = static_cast<double>(load.kv_bytes_peak());
  figures.kv_bytes_full_attention = static_cast<double>(load.kv_bytes_full_attention());
  figures.prompt_tokens_total = static_cast<double>(load.prompt_tokens_total());
  figures.generation_tokens_total = static_cast<double>(load.generation_tokens_total());
  figures.steps_total = static_cast<double>(load.steps_total());
  figures.evicted_prefill_total = phase_total(load, "prefill");
  figures.evicted_decode_total = phase_total(load, "decode");
  for (const auto& [phase, time] : load.step_time()) {
    monitoring::GroupFigures::Histogram histogram;
    histogram.phase = phase;
    histogram.count = static_cast<double>(time.count());
    histogram.seconds = time.seconds();
    histogram.buckets.assign(time.buckets().begin(), time.buckets().end());
    figures.step_seconds.push_back(std::move(histogram));
  }
  return figures;
}

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::abort:
      return "abort";
    case FinishReason::error:
      break;
  }
  return "error";
}

const char* name_of(Rejection::Kind kind) {
  switch (kind) {
    case Rejection::Kind::queue_full:
      return "queue_full";
    case Rejection::Kind::no_group:
      return "no_group";
    case Rejection::Kind::never_fits:
      return "never_fits";
    case Rejection::Kind::draining:
      break;
  }
  return "draining";
}

}  // namespace batchmax::coordinator
