#include "worker/model/rope.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace batchmax::worker {
namespace {

// Llama 3.1: wavelengths beyond what was trained are stretched, short ones kept, between them a blend
// (arXiv 2407.21783; huggingface.co/docs/transformers, rope_type "llama3").
double scale_llama3(double frequency, const RopeScaling& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double cycles = rope.original_max_positions / wavelength;
  if (cycles > rope.high_freq_factor) return frequency;
  if (cycles < rope.low_freq_factor) return frequency / rope.factor;
  const double blend = (cycles - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - blend) * frequency / rope.factor + blend * frequency;
}

// YaRN (arXiv 2309.00071): the pair, counted in fractions, that turns so often within the trained length.
double pair_that_turns(double turns, const ModelConfig& config) {
  const double length = config.rope.original_max_positions / (turns * 2 * std::numbers::pi);
  return config.head_dim * std::log(length) / (2 * std::log(config.rope_theta));
}

// Pairs up to `first` keep their frequency, those from `last` are stretched by the factor, between them a
// ramp.
struct YarnRamp {
  double first, last;

  explicit YarnRamp(const ModelConfig& config)
      : first(pair_that_turns(config.rope.fast_turns, config)),
        last(pair_that_turns(config.rope.slow_turns, config)) {
    if (config.rope.whole_pairs) {
      first = std::floor(first);
      last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, config.head_dim - 1.0);
    if (first == last) last += 0.001;  // as in transformers
  }
  double stretch(size_t pair) const {
    return std::clamp((static_cast<double>(pair) - first) / (last - first), 0.0, 1.0);
  }
};

}  // namespace

std::vector<std::vector<double>> rope_frequencies(const ModelConfig& config) {
  const size_t pairs = static_cast<size_t>(config.head_dim / 2);
  const RopeScaling& rope = config.rope;
  std::vector<std::vector<double>> tables(rope.kind == RopeScaling::Kind::longrope ? 2 : 1,
                                          std::vector<double>(pairs));
  for (size_t i = 0; i < pairs; ++i) {
    const double plain = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / config.head_dim);
    switch (rope.kind) {
      case RopeScaling::Kind::none:
        tables[0][i] = plain;
        break;
      case RopeScaling::Kind::linear:
        tables[0][i] = plain / rope.factor;
        break;
      case RopeScaling::Kind::llama3:
        tables[0][i] = scale_llama3(plain, rope);
        break;
      case RopeScaling::Kind::yarn: {
        const double stretch = YarnRamp(config).stretch(i);
        tables[0][i] = plain * (1 - stretch) + plain / rope.factor * stretch;
        break;
      }
      case RopeScaling::Kind::longrope:
        tables[0][i] = plain / rope.short_factor[i];
        tables[1][i] = plain / rope.long_factor[i];
        break;
    }
  }
  return tables;
}

int32_t short_rope_positions(const ModelConfig& config) {
  return config.rope.kind == RopeScaling::Kind::longrope ? config.rope.original_max_positions
                                                         : std::numeric_limits<int32_t>::max();
}

RopeTables::RopeTables(const kernels::Stream& stream, const ModelConfig& config, int32_t max_positions) {
  const auto frequencies = rope_frequencies(config);
  const size_t pairs = static_cast<size_t>(config.head_dim / 2);
  const size_t half = frequencies.size() * static_cast<size_t>(max_positions) * pairs;
  std::vector<float> host(2 * half + frequencies.size() * pairs);
  size_t at = 0;
  for (const auto& table : frequencies) {
    for (int32_t position = 0; position < max_positions; ++position) {
      for (size_t i = 0; i < pairs; ++i, ++at) {
        // The angle is rounded to fp32 first, as the checkpoints were trained with.
        const float angle = static_cast<float>(position) * static_cast<float>(table[i]);
        host[at] = static_cast<float>(std::cos(static_cast<double>(angle)));
        host[half + at] = static_cast<float>(std::sin(static_cast<double>(angle)));
      }
    }
  }
  auto out = host.begin() + static_cast<ptrdiff_t>(2 * half);
  for (const auto& table : frequencies) {
    for (const double frequency : table) *out++ = static_cast<float>(frequency);
  }
  memory_ = kernels::Buffer(stream, host.size() * sizeof(float));
  kernels::upload(stream, memory_.data(), host.data(), host.size() * sizeof(float));
  stream.synchronize();
  view_.cos = static_cast<const float*>(memory_.data());
  view_.sin = view_.cos + half;
  view_.frequency = view_.sin + half;
  view_.max_positions = max_positions;
}

}  // namespace batchmax::worker
