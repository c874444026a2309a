#include "worker/leader/submit_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_set>

#include "config/kv_reservation.h"

namespace batchmax::worker {
namespace {

// What the settings and the fields of a request may be: anything past this is garbage and would wrap.
constexpr uint32_t kLargest = std::numeric_limits<int32_t>::max();

// What the server's settings make of the request's mode and budget, if that is what was sent.
std::variant<config::Compression, std::string> check_compression(const comm::pb::Compression& sent,
                                                                 const config::CompressionSettings& server) {
  for (const uint32_t value :
       {sent.budget(), sent.block(), sent.sinks(), sent.recent(), sent.prompt_tail(), sent.decode_block()}) {
    if (value > kLargest) return "a compression setting is out of range";
  }
  config::Compression made;
  switch (sent.mode()) {
    case comm::pb::Compression::OFF:
      made.mode = config::Mode::off;
      break;
    case comm::pb::Compression::DECODE:
      made.mode = config::Mode::decode;
      break;
    case comm::pb::Compression::FULL:
      made.mode = config::Mode::full;
      break;
    default:
      return "unknown compression mode " + std::to_string(static_cast<int>(sent.mode()));
  }
  made.budget = static_cast<int32_t>(sent.budget());
  made.block = static_cast<int32_t>(sent.block());
  made.sinks = static_cast<int32_t>(sent.sinks());
  made.recent = static_cast<int32_t>(sent.recent());
  made.prompt_tail = static_cast<int32_t>(sent.prompt_tail());
  made.decode_block = static_cast<int32_t>(sent.decode_block());
  for (const std::optional<int32_t> budget :
       {std::optional<int32_t>{}, std::optional<int32_t>{made.budget}}) {
    const auto expected = config::resolve(server, budget, made.mode);
    const auto* resolved = std::get_if<config::Compression>(&expected);
    if (resolved != nullptr && *resolved == made) return made;
  }
  return "its compression settings are not what this group's settings make of mode " +
         std::string(config::name_of(made.mode)) + " and budget " + std::to_string(made.budget);
}

std::optional<std::string> check_sampling(const comm::pb::Sampling& sampling) {
  // Written so that NaN fails.
  if (!(sampling.temperature() >= 0 && std::isfinite(sampling.temperature())))
    return "temperature is out of range";
  if (!(sampling.top_p() > 0 && sampling.top_p() <= 1)) return "top_p is out of range";
  if (!(sampling.min_p() >= 0 && sampling.min_p() <= 1)) return "min_p is out of range";
  if (sampling.top_k() > kLargest) return "top_k is out of range";
  if (sampling.choice() > kLargest) return "choice is out of range";
  if (!std::isfinite(sampling.presence_penalty())) return "presence_penalty is out of range";
  if (!std::isfinite(sampling.frequency_penalty())) return "frequency_penalty is out of range";
  if (!(sampling.repetition_penalty() > 0 && std::isfinite(sampling.repetition_penalty())))
    return "repetition_penalty is out of range";
  return std::nullopt;
}

// Biases, stop ids and log probabilities.
std::optional<std::string> check_logits(const comm::pb::Submit& submit, int32_t vocabulary) {
  if (submit.logit_bias_size() + submit.stop_ids_size() > kMaxLogitEntries)
    return "more biases and stop ids than a sequence may have";
  std::unordered_set<uint32_t> biased;
  for (const comm::pb::LogitBias& bias : submit.logit_bias()) {
    if (bias.id() >= static_cast<uint32_t>(vocabulary) || !std::isfinite(bias.bias()) ||
        !biased.insert(bias.id()).second)
      return "a logit bias is out of range";
  }
  if (submit.logprobs() > kernels::kMaxTopLogprobs + 1) return "logprobs is out of range";
  if (submit.prompt_logprobs_from() > 0 && submit.logprobs() == 0)
    return "log probabilities of the prompt alone";
  if (submit.prompt_logprobs_from() > submit.prompt_length()) return "prompt_logprobs_from is out of range";
  return std::nullopt;
}

}  // namespace

std::variant<SequenceRequest, std::string> check_submit(const comm::pb::Submit& submit,
                                                        const SubmitLimits& limits) {
  const auto tokens = static_cast<int64_t>(submit.tokens_size());
  if (tokens < 1 || tokens > limits.max_model_len) return "a prompt of " + std::to_string(tokens) + " tokens";
  if (submit.prompt_length() < 1 || submit.prompt_length() > tokens) {
    return "prompt_length " + std::to_string(submit.prompt_length()) + " of " + std::to_string(tokens) +
           " tokens";
  }
  const int64_t whole = int64_t{submit.prompt_length()} + submit.max_tokens();
  if (whole <= tokens || whole > limits.max_model_len) {
    return "max_tokens " + std::to_string(submit.max_tokens()) + " after " + std::to_string(tokens) +
           " tokens; the model's length is " + std::to_string(limits.max_model_len);
  }
  const auto outside = [&](uint32_t id) { return id >= static_cast<uint32_t>(limits.vocab_size); };
  for (const uint32_t id : submit.tokens()) {
    if (outside(id))
      return "token id " + std::to_string(id) + " of a vocabulary of " + std::to_string(limits.vocab_size);
  }
  auto compression = check_compression(submit.compression(), limits.compression);
  if (auto* why = std::get_if<std::string>(&compression)) return std::move(*why);
  if (auto why = check_sampling(submit.sampling())) return std::move(*why);
  if (auto why = check_logits(submit, limits.vocab_size)) return std::move(*why);

  SequenceRequest request;
  request.request = submit.request();
  request.attempt = submit.attempt();
  request.tokens.assign(submit.tokens().begin(), submit.tokens().end());
  request.prompt_length = static_cast<int32_t>(submit.prompt_length());
  request.max_tokens = static_cast<int32_t>(submit.max_tokens());
  request.min_tokens = static_cast<int32_t>(std::min(submit.min_tokens(), submit.max_tokens()));
  request.compression = std::get<config::Compression>(compression);
  request.sampling = {submit.sampling().temperature(),
                      submit.sampling().top_p(),
                      submit.sampling().min_p(),
                      static_cast<int32_t>(submit.sampling().top_k()),
                      submit.sampling().seed(),
                      static_cast<int32_t>(submit.sampling().choice()),
                      submit.sampling().presence_penalty(),
                      submit.sampling().frequency_penalty(),
                      submit.sampling().repetition_penalty()};
  for (const comm::pb::LogitBias& bias : submit.logit_bias())
    request.logit_bias.push_back({static_cast<int32_t>(bias.id()), bias.bias()});
  request.logprobs = static_cast<int32_t>(submit.logprobs()) - 1;
  request.prompt_logprobs_from = static_cast<int32_t>(submit.prompt_logprobs_from());
  for (const uint32_t id : submit.stop_ids()) {
    if (!outside(id)) request.stop_ids.push_back(static_cast<int32_t>(id));  // others can never be drawn
  }
  const int32_t pages =
      config::reservation(request.compression, static_cast<int32_t>(tokens), request.remaining()).pages;
  if (submit.pages() != static_cast<uint32_t>(pages)) {
    return "reserved " + std::to_string(submit.pages()) + " pages where " + std::to_string(pages) +
           " are needed";
  }
  return request;
}

}  // namespace batchmax::worker
