// What a checkpoint's config.json says, as one value for all families. Read strictly: an unknown
// architecture, a missing key or a value out of range is an error that names file, key, expected and found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace batchmax::worker {

// Frequencies of the rotary embedding.
struct RopeScaling {
  enum class Kind : uint8_t { none, linear, llama3, longrope, yarn };
  Kind kind = Kind::none;
  double factor = 1;
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
  double fast_turns = 32;       // yarn: pairs that turn more often in the trained length stay as they are
  double slow_turns = 1;        // yarn: those that turn less often are stretched by the factor
  bool whole_pairs = true;      // yarn: the bounds of both are rounded outwards to whole pairs
  int32_t original_max_positions = 0;  // llama3, yarn; longrope: as far as the short factors hold
  std::vector<double> short_factor;    // longrope, head_dim / 2 each
  std::vector<double> long_factor;
  double attention_factor = 1;  // goes, squared, into the softmax scale
};

struct ModelConfig {
  std::string family;  // "llama", ...: row of the table in model_config.cc
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t intermediate = 0;
  int32_t vocab_size = 0;
  int32_t max_positions = 0;  // that may be used; why it is less than the config's, in length_limit
  std::string length_limit;   // "the sliding window of the model"
  float rms_eps = 1e-5F;
  double rope_theta = 10000;
  RopeScaling rope;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  bool fused_projections = false;  // qkv_proj and gate_up_proj as single tensors
  bool stored_f32 = false;         // the checkpoint's own dtype is fp32
  std::vector<int32_t> eos_ids;
};

// Reads <folder>/config.json, and <folder>/generation_config.json for end-of-sequence ids where it is there.
// Throws std::runtime_error.
ModelConfig read_model_config(const std::string& folder);

// Throws std::runtime_error listing the values that work when `ranks` does not divide the KV heads and the
// feed-forward width.
void check_tensor_parallel(const ModelConfig& config, int32_t ranks);

}  // namespace batchmax::worker
