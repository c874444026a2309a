#include "worker/model/model_config.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "worker/model/json_file.h"

namespace batchmax::worker {
namespace {

namespace json = boost::json;

constexpr int32_t kMaxPositions = 1 << 24;

// What an absent key means: the default of the family's class in transformers. A null is no absent key.
struct Defaults {
  int32_t max_positions;
  int32_t kv_heads = 0;  // 0: as many as query heads
  int32_t head_dim = 0;  // 0: hidden_size / num_attention_heads
  double rms_eps = 1e-6;
  int32_t window = 0;              // 0: none
  int32_t original_positions = 0;  // of longrope; 0: what rope_scaling says, else max_positions
  int32_t eos = -1;                // -1: none
};

// What a family needs beside the common keys. Adding one is one row.
struct Family {
  const char* architecture;
  const char* name;
  bool qkv_bias = false;           // always, whatever the config says
  bool attention_bias = false;     // the config's attention_bias counts: q, k, v and o
  bool mlp_bias = false;           // the config's mlp_bias counts: gate, up and down
  bool qk_norm = false;            // RMS norm of every q and k head
  bool fused_projections = false;  // qkv_proj and gate_up_proj as single tensors
  bool window_by_layer = false;    // sliding_window counts with use_sliding_window only, where a layer slides
  Defaults absent;
};
constexpr Family kFamilies[] = {
    {.architecture = "LlamaForCausalLM",
     .name = "llama",
     .attention_bias = true,
     .mlp_bias = true,
     .absent = {.max_positions = 2048, .eos = 2}},
    {.architecture = "MistralForCausalLM",
     .name = "mistral",
     .absent = {.max_positions = 131072, .kv_heads = 8, .window = 4096, .eos = 2}},
    {.architecture = "Qwen2ForCausalLM",
     .name = "qwen2",
     .qkv_bias = true,
     .window_by_layer = true,
     .absent = {.max_positions = 32768, .kv_heads = 32, .window = 4096}},
    {.architecture = "Qwen3ForCausalLM",
     .name = "qwen3",
     .attention_bias = true,
     .qk_norm = true,
     .window_by_layer = true,
     .absent = {.max_positions = 32768, .kv_heads = 32, .head_dim = 128, .window = 4096}},
    {.architecture = "Phi3ForCausalLM",
     .name = "phi3",
     .fused_projections = true,
     .absent = {.max_positions = 4096, .rms_eps = 1e-5, .original_positions = 4096, .eos = 32000}},
};

class Reader {
 public:
  Reader(const json::object& object, std::string path) : object_(object), path_(std::move(path)) {}

  bool has(const char* key) const { return object_.contains(key); }

  // Null where the key is absent or null.
  const json::value* find(const char* key) const {
    const json::value* value = object_.if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  int32_t integer(const char* key, int64_t least, int64_t most) const {
    const json::value* value = find(key);
    if (value == nullptr) fail(key, "an integer", "nothing");
    return to_integer(key, *value, least, most);
  }
  int32_t integer_or(const char* key, int64_t least, int64_t most, int32_t otherwise) const {
    const json::value* value = find(key);
    return value == nullptr ? otherwise : to_integer(key, *value, least, most);
  }
  double number_or(const char* key, double otherwise) const {
    const json::value* value = find(key);
    if (value == nullptr) return otherwise;
    json::error_code error;
    const double number = value->to_number<double>(error);
    if (error || !std::isfinite(number)) fail(key, "a number", json::serialize(*value));
    return number;
  }
  double positive(const char* key) const {
    if (find(key) == nullptr) fail(key, "a positive number", "nothing");
    return positive_or(key, 1);
  }
  double positive_or(const char* key, double otherwise) const {
    const double number = number_or(key, otherwise);
    if (!(number > 0)) fail(key, "a positive number", std::to_string(number));
    return number;
  }
  bool boolean_or(const char* key, bool otherwise) const {
    const json::value* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_bool()) fail(key, "true or false", json::serialize(*value));
    return value->as_bool();
  }
  std::string text_or(const char* key, const char* otherwise) const {
    const json::value* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) fail(key, "a string", json::serialize(*value));
    return std::string(value->as_string());
  }
  std::vector<double> numbers(const char* key, size_t count) const {
    const json::value* value = find(key);
    std::vector<double> out;
    if (value != nullptr && value->is_array()) {
      for (const json::value& item : value->as_array()) {
        if (item.is_number()) out.push_back(item.to_number<double>());
      }
    }
    const bool positive = std::all_of(out.begin(), out.end(), [](double number) { return number > 0; });
    if (out.size() != count || !positive) {
      fail(key, std::to_string(count) + " positive numbers",
           value == nullptr ? "nothing" : json::serialize(*value));
    }
    return out;
  }
  int32_t to_integer(const char* key, const json::value& value, int64_t least, int64_t most) const {
    json::error_code error;
    const int64_t number = value.to_number<int64_t>(error);
    if (error || number < least || number > most) {
      fail(key, "an integer from " + std::to_string(least) + " to " + std::to_string(most),
           json::serialize(value));
    }
    return static_cast<int32_t>(number);
  }
  [[noreturn]] void fail(const std::string& key, const std::string& expected,
                         const std::string& found) const {
    throw std::runtime_error(path_ + ": " + key + ": expected " + expected + ", found " + found);
  }

 private:
  const json::object& object_;
  std::string path_;
};

const Family& read_family(const Reader& reader, const json::object& object) {
  std::string found = "nothing";
  if (const json::value* value = object.if_contains("architectures"); value != nullptr) {
    found = json::serialize(*value);
    for (const json::value& item : value->is_array() ? value->as_array() : json::array()) {
      for (const Family& family : kFamilies) {
        if (item.is_string() && item.as_string() == family.architecture) return family;
      }
    }
  }
  std::string known;
  for (const Family& family : kFamilies)
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  reader.fail("architectures", "one of " + known, found);
}

void check_whole_heads_turn(const Reader& reader) {
  const double factor = reader.number_or("partial_rotary_factor", 1);
  if (factor != 1) reader.fail("partial_rotary_factor", "1", std::to_string(factor));
}

void read_longrope(const Reader& reader, ModelConfig& config) {
  RopeScaling& rope = config.rope;
  rope.kind = RopeScaling::Kind::longrope;
  rope.short_factor = reader.numbers("short_factor", static_cast<size_t>(config.head_dim / 2));
  rope.long_factor = reader.numbers("long_factor", static_cast<size_t>(config.head_dim / 2));
  // The factor of the config counts here only; most have none.
  const double scale =
      reader.positive_or("factor", static_cast<double>(config.max_positions) / rope.original_max_positions);
  const double derived =
      scale <= 1 ? 1.0 : std::sqrt(1 + std::log(scale) / std::log(rope.original_max_positions));
  rope.attention_factor = reader.positive_or("attention_factor", derived);
}

// The length grows by the factor, as published instructions for long prompts count on: they add the scaling
// to a config.json whose max_position_embeddings stays.
void read_yarn(const Reader& reader, ModelConfig& config) {
  RopeScaling& rope = config.rope;
  rope.kind = RopeScaling::Kind::yarn;
  rope.factor = reader.positive("factor");
  rope.fast_turns = reader.positive_or("beta_fast", 32);
  rope.slow_turns = reader.positive_or("beta_slow", 1);
  rope.whole_pairs = reader.boolean_or("truncate", true);
  const auto scale = [&](double weight) {
    return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1;
  };
  const double weight = reader.number_or("mscale", 0), all_weight = reader.number_or("mscale_all_dim", 0);
  const double derived = weight != 0 && all_weight != 0 ? scale(weight) / scale(all_weight) : scale(1);
  rope.attention_factor = reader.positive_or("attention_factor", derived);
  const double length = std::min(rope.original_max_positions * rope.factor, double{kMaxPositions});
  config.max_positions = std::max(config.max_positions, static_cast<int32_t>(length));
}

// transformers 4 has rope_theta and rope_scaling, transformers 5 has both in rope_parameters. Where both are,
// somebody has added rope_scaling by hand: it counts, there as here.
void read_rope(const Reader& top, const std::string& path, const Family& family, ModelConfig& config) {
  check_whole_heads_turn(top);
  config.rope_theta = top.positive_or("rope_theta", 10000);
  const char* key = "rope_scaling";
  const json::value* value = top.find(key);
  const bool empty = value == nullptr || (value->is_object() && value->as_object().empty());
  if (empty) value = top.find(key = "rope_parameters");
  if (value == nullptr) return;
  if (!value->is_object()) top.fail(key, "an object", json::serialize(*value));
  const Reader reader(value->as_object(), path + ": " + key);
  for (const auto& [name, member] : value->as_object()) {
    if (member.is_object()) reader.fail(name, "one setting for all layers", json::serialize(member));
  }
  check_whole_heads_turn(reader);
  config.rope_theta = reader.positive_or("rope_theta", config.rope_theta);
  const std::string type = reader.text_or("rope_type", reader.text_or("type", "default").c_str());
  const int32_t most = std::numeric_limits<int32_t>::max();
  RopeScaling& rope = config.rope;
  rope.original_max_positions =
      family.absent.original_positions > 0
          ? top.integer_or("original_max_position_embeddings", 1, most, family.absent.original_positions)
          : top.integer_or(
                "original_max_position_embeddings", 1, most,
                reader.integer_or("original_max_position_embeddings", 1, most, config.max_positions));
  if (type == "default") {
    rope.kind = RopeScaling::Kind::none;
  } else if (type == "linear") {
    rope.kind = RopeScaling::Kind::linear;
    rope.factor = reader.positive("factor");
  } else if (type == "llama3") {
    rope.kind = RopeScaling::Kind::llama3;
    rope.factor = reader.positive("factor");
    rope.low_freq_factor = reader.positive("low_freq_factor");
    rope.high_freq_factor = reader.positive("high_freq_factor");
    if (!(rope.high_freq_factor > rope.low_freq_factor)) {
      reader.fail("high_freq_factor", "more than low_freq_factor", std::to_string(rope.high_freq_factor));
    }
  } else if (type == "longrope" || type == "su") {
    read_longrope(reader, config);
  } else if (type == "yarn") {
    read_yarn(reader, config);
  } else {
    reader.fail("rope_type", "default, linear, llama3, longrope or yarn", type);
  }
}

// Where a window is in use, no sequence may be longer: every kept token is visible here.
void read_window(const Reader& reader, const Family& family, ModelConfig& config) {
  bool slides = reader.boolean_or("use_sliding_window", !family.window_by_layer);
  const json::value* types = reader.find("layer_types");
  if (types != nullptr && !types->is_array()) reader.fail("layer_types", "a list", json::serialize(*types));
  if (types != nullptr) {
    bool one_slides = false;
    for (const json::value& type : types->as_array()) {
      if (type != "full_attention" && type != "sliding_attention")
        reader.fail("layer_types", "full_attention or sliding_attention", json::serialize(type));
      one_slides |= type == "sliding_attention";
    }
    if (family.window_by_layer) slides = slides && one_slides;
  } else if (family.window_by_layer) {
    slides = slides && reader.integer_or("max_window_layers", 0, 1024, 28) < config.layers;
  }
  const int32_t otherwise =
      reader.has("sliding_window") || family.absent.window == 0 ? config.max_positions : family.absent.window;
  const int32_t window =
      reader.integer_or("sliding_window", 1, std::numeric_limits<int32_t>::max(), otherwise);
  if (slides && window < config.max_positions) {
    config.max_positions = window;
    config.length_limit = "the sliding window of the model: every kept token is visible here";
  }
}

// Adds the ids of this file; says whether it has the key at all.
bool read_eos(const json::object& object, const std::string& path, int32_t vocab_size,
              std::vector<int32_t>& ids) {
  const Reader reader(object, path);
  const json::value* value = reader.find("eos_token_id");
  if (value == nullptr) return reader.has("eos_token_id");
  // One beyond the vocabulary is never drawn: transformers writes Phi-3's default into the config of a
  // smaller model.
  const auto add = [&](const json::value& item) {
    const int32_t id = reader.to_integer("eos_token_id", item, 0, std::numeric_limits<int32_t>::max());
    if (id < vocab_size) ids.push_back(id);
  };
  if (value->is_array()) {
    for (const json::value& id : value->as_array()) add(id);
  } else {
    add(*value);
  }
  return true;
}

void read_all_eos(const json::object& object, const std::string& folder, const Family& family,
                  ModelConfig& config) {
  bool said = read_eos(object, folder + "/config.json", config.vocab_size, config.eos_ids);
  const std::string generation = folder + "/generation_config.json";
  if (std::filesystem::exists(generation)) {
    said |= read_eos(read_json_object(generation), generation, config.vocab_size, config.eos_ids);
  }
  if (!said && family.absent.eos >= 0 && family.absent.eos < config.vocab_size)
    config.eos_ids.push_back(family.absent.eos);
  std::sort(config.eos_ids.begin(), config.eos_ids.end());
  config.eos_ids.erase(std::unique(config.eos_ids.begin(), config.eos_ids.end()), config.eos_ids.end());
}

// Heads, and how wide each is.
void read_heads(const Reader& reader, const Family& family, ModelConfig& config) {
  config.heads = reader.integer("num_attention_heads", 1, 1024);
  const bool says_kv_heads = reader.has("num_key_value_heads") || family.absent.kv_heads == 0;
  config.kv_heads = reader.integer_or("num_key_value_heads", 1, config.heads,
                                      says_kv_heads ? config.heads : family.absent.kv_heads);
  if (config.heads % config.kv_heads != 0 || config.heads / config.kv_heads > 8) {
    reader.fail("num_key_value_heads", "a divisor of num_attention_heads with at most 8 query heads each",
                std::to_string(config.kv_heads));
  }
  const bool derives = reader.has("head_dim") || family.absent.head_dim == 0;
  if (derives && reader.find("head_dim") == nullptr && config.hidden % config.heads != 0) {
    reader.fail("hidden_size", "a multiple of num_attention_heads", std::to_string(config.hidden));
  }
  config.head_dim =
      reader.integer_or("head_dim", 1, 1024, derives ? config.hidden / config.heads : family.absent.head_dim);
  if (config.head_dim != 64 && config.head_dim != 96 && config.head_dim != 128) {
    reader.fail("head_dim", "64, 96 or 128", std::to_string(config.head_dim));
  }
}

}  // namespace

ModelConfig read_model_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const json::object object = read_json_object(path);
  const Reader reader(object, path);
  const Family& family = read_family(reader, object);
  if (const json::value* value = reader.find("quantization_config"); value != nullptr) {
    const json::value* method = value->is_object() ? value->as_object().if_contains("quant_method") : nullptr;
    reader.fail("quantization_config", "nothing, for weights of fp32, fp16 or bf16",
                json::serialize(method == nullptr ? *value : *method));
  }

  ModelConfig config;
  config.family = family.name;
  config.fused_projections = family.fused_projections;
  config.qk_norm = family.qk_norm;
  config.layers = reader.integer("num_hidden_layers", 1, 1024);
  config.hidden = reader.integer("hidden_size", 1, 1 << 17);
  read_heads(reader, family, config);
  config.intermediate = reader.integer("intermediate_size", 1, 1 << 18);
  config.vocab_size = reader.integer("vocab_size", 1, 1 << 22);
  config.max_positions =
      reader.integer_or("max_position_embeddings", 1, kMaxPositions, family.absent.max_positions);
  config.rms_eps = static_cast<float>(reader.positive_or("rms_norm_eps", family.absent.rms_eps));
  config.tied_embeddings = reader.boolean_or("tie_word_embeddings", false);
  config.o_bias = family.attention_bias && reader.boolean_or("attention_bias", false);
  config.qkv_bias = family.qkv_bias || config.o_bias;
  config.mlp_bias = family.mlp_bias && reader.boolean_or("mlp_bias", false);
  const std::string activation = reader.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") reader.fail("hidden_act", "silu", activation);
  read_rope(reader, path, family, config);
  read_window(reader, family, config);
  config.stored_f32 = reader.text_or("torch_dtype", reader.text_or("dtype", "").c_str()) == "float32";
  read_all_eos(object, folder, family, config);
  return config;
}

void check_tensor_parallel(const ModelConfig& config, int32_t ranks) {
  std::string works;
  for (int32_t n = 1; n <= config.kv_heads; ++n) {
    if (config.kv_heads % n != 0 || config.intermediate % n != 0) continue;
    if (n == ranks) return;
    works += (works.empty() ? "" : ", ") + std::to_string(n);
  }
  throw std::runtime_error("--tensor-parallel-size " + std::to_string(ranks) + " must divide the model's " +
                           std::to_string(config.kv_heads) + " KV heads and its feed-forward width " +
                           std::to_string(config.intermediate) + "; values that work: " + works);
}

}  // namespace batchmax::worker
