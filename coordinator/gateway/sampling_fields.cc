#include "coordinator/gateway/sampling_fields.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <cmath>
#include <optional>

namespace batchmax::coordinator {
namespace {

constexpr size_t kMaxBiases = 1024;
constexpr double kMaxBias = 100;
constexpr int64_t kMaxLogprobs = 20;
constexpr double kMaxPenalty = 2;
// Far from where a division overflows.
constexpr double kLeastRepetition = 0.01, kMostRepetition = 10;
// A float must not become 0.
constexpr float kLeastTopP = 1e-6F;

// Digits alone, no leading zero: each id has one spelling, so none comes twice.
std::optional<int32_t> id_of(std::string_view text, int32_t vocabulary) {
  int32_t id = -1;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (fault != std::errc() || end != text.data() + text.size() || text[0] == '-') return std::nullopt;
  if ((text.size() > 1 && text[0] == '0') || id >= vocabulary) return std::nullopt;
  return id;
}

float penalty(FieldReader& fields, std::string_view name) {
  return static_cast<float>(fields.number(name, -kMaxPenalty, kMaxPenalty).value_or(0));
}

}  // namespace

void read_sampling(FieldReader& fields, GenerationRequest& request) {
  SamplingParameters& sampling = request.sampling;
  // OpenAI's defaults, not those of the checkpoint's generation_config.json: the same request means the same
  // here as with any other server of this API.
  sampling.temperature = static_cast<float>(fields.number("temperature", 0, 2).value_or(1));
  sampling.top_p = std::max(kLeastTopP, static_cast<float>(fields.number("top_p", 0, 1, true).value_or(1)));
  sampling.min_p = static_cast<float>(fields.number("min_p", 0, 1).value_or(0));
  // -1 is how some clients write "off".
  const int64_t top_k = fields.integer("top_k", -1, INT32_MAX).value_or(0);
  sampling.top_k = static_cast<int32_t>(top_k < 0 ? 0 : top_k);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) {
    sampling.seed = static_cast<uint64_t>(*seed);
    request.has_seed = true;
  }
  sampling.presence_penalty = penalty(fields, "presence_penalty");
  sampling.frequency_penalty = penalty(fields, "frequency_penalty");
  sampling.repetition_penalty =
      static_cast<float>(fields.number("repetition_penalty", kLeastRepetition, kMostRepetition).value_or(1));
  request.min_tokens = static_cast<int32_t>(fields.integer("min_tokens", 0, INT32_MAX).value_or(0));
}

void read_logit_bias(FieldReader& fields, int32_t vocabulary, std::vector<LogitBias>& biases) {
  const boost::json::value* value = fields.find("logit_bias");
  if (value == nullptr) return;
  const auto wrong = [&] {
    fields.fail("logit_bias",
                fmt::format("logit_bias must be an object of at most {} token ids from 0 to {}, each with a "
                            "number from {} to {}.",
                            kMaxBiases, vocabulary - 1, -kMaxBias, kMaxBias));
  };
  if (!value->is_object() || value->get_object().size() > kMaxBiases) return wrong();
  for (const auto& [key, bias] : value->get_object()) {
    const auto id = id_of(std::string_view(key.data(), key.size()), vocabulary);
    if (!id || !bias.is_number()) return wrong();
    const auto number = bias.to_number<double>();
    if (!(std::abs(number) <= kMaxBias)) return wrong();
    biases.push_back({*id, static_cast<float>(number)});
  }
}

void read_logprobs(FieldReader& fields, GenerationRequest& request) {
  const boost::json::value* value = fields.find("logprobs");
  const bool no = value != nullptr && value->is_bool() && !value->get_bool();
  if (request.api == Api::completion) {
    if (!no)
      request.logprobs = static_cast<int32_t>(fields.integer("logprobs", 0, kMaxLogprobs).value_or(-1));
    request.echo = fields.boolean("echo").value_or(false);
    return;
  }
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, kMaxLogprobs);
  if (top.value_or(0) > 0 && !wanted) fields.fail("top_logprobs", "top_logprobs needs \"logprobs\": true.");
  if (wanted) request.logprobs = static_cast<int32_t>(top.value_or(0));
}

}  // namespace batchmax::coordinator
