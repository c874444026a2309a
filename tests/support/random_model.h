// A random model for tests: shapes as asked, weights large enough that attention is uneven and keys differ.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "monitoring/check.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_source.h"

namespace batchmax::worker {

inline ModelConfig random_model(int32_t kv_heads, int32_t group, int32_t head_dim, int32_t layers) {
  ModelConfig config;
  config.family = "llama";
  config.layers = layers;
  config.hidden = 48;
  config.kv_heads = kv_heads;
  config.heads = kv_heads * group;
  config.head_dim = head_dim;
  config.intermediate = 80;
  config.vocab_size = 64;
  config.max_positions = 4096;
  return config;
}

// Random numbers with larger query and key projections.
class UnevenWeights final : public WeightSource {
 public:
  explicit UnevenWeights(uint64_t seed) : source_(dummy_source(seed)) {}
  void matrix(const std::string& name, const Checkpoint::Part& part, kernels::DType dtype,
              void* to) override {
    source_->matrix(name, part, dtype, to);
    const bool sharp = name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos;
    if (!sharp || dtype != kernels::DType::f32) return;
    auto* values = static_cast<float*>(to);
    for (int64_t i = 0; i < part.rows * part.columns; ++i) values[i] *= 1.75F;
  }
  void vector(const std::string& name, int64_t all, int64_t begin, int64_t count, kernels::DType dtype,
              void* to) override {
    source_->vector(name, all, begin, count, dtype, to);
  }
  bool has(const std::string& name) const override { return source_->has(name); }
  void refuse(const std::string& prefix, const std::string& reason) override {
    source_->refuse(prefix, reason);
  }

 private:
  std::unique_ptr<WeightSource> source_;
};

inline std::vector<int32_t> random_tokens(int32_t count, int32_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
  }
  return tokens;
}

// No token twice. Equal tokens have equal keys in the first layer, so their scores differ by rounding alone.
inline std::vector<int32_t> distinct_tokens(int32_t count, int32_t vocabulary, uint32_t seed) {
  CHECK_LE(count, vocabulary);
  std::vector<int32_t> tokens(static_cast<size_t>(vocabulary));
  std::iota(tokens.begin(), tokens.end(), 0);
  std::shuffle(tokens.begin(), tokens.end(), std::mt19937(seed));
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

}  // namespace batchmax::worker
