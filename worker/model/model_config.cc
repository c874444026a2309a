#include "worker/model/model_config.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>

namespace batchmax::worker {
namespace {

namespace json = boost::json;

// What a family needs beside the common keys. Adding one is one row.
struct Family {
  const char* architecture;
  const char* name;
  bool qkv_bias;           // always, whatever the config says
  bool attention_bias;     // the config's attention_bias counts: q, k, v and o
  bool mlp_bias;           // the config's mlp_bias counts: gate, up and down
  bool qk_norm;            // RMS norm of every q and k head
  bool fused_projections;  // qkv_proj and gate_up_proj as single tensors
  bool window_by_default;  // sliding_window counts unless use_sliding_window says otherwise
};
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", false, true, true, false, false, true},
    {"MistralForCausalLM", "mistral", false, false, false, false, false, true},
    {"Qwen2ForCausalLM", "qwen2", true, false, false, false, false, false},
    {"Qwen3ForCausalLM", "qwen3", false, true, false, true, false, false},
    {"Phi3ForCausalLM", "phi3", false, false, false, false, true, true},
};

json::object read_object(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path + ": cannot be read; expected a Hugging Face model folder");
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) throw std::runtime_error(path + ": not valid JSON: " + error.message());
  if (!value.is_object()) throw std::runtime_error(path + ": expected a JSON object");
  return std::move(value.as_object());
}

class Reader {
 public:
  Reader(const json::object& object, std::string path) : object_(object), path_(std::move(path)) {}

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
  if (const json::value* value = object.if_contains("architectures"); value != nullptr && value->is_array()) {
    found = json::serialize(*value);
    for (const json::value& item : value->as_array()) {
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

// transformers 4 has rope_theta and rope_scaling, transformers 5 has both in rope_parameters. Where both are,
// somebody has added rope_scaling by hand: it counts, there as here.
void read_rope(const Reader& top, const std::string& path, ModelConfig& config) {
  check_whole_heads_turn(top);
  config.rope_theta = top.positive_or("rope_theta", 10000);
  const char* key = "rope_scaling";
  const json::value* value = top.find(key);
  const bool empty = value == nullptr || (value->is_object() && value->as_object().empty());
  if (empty) value = top.find(key = "rope_parameters");
  if (value == nullptr) return;
  if (!value->is_object()) top.fail(key, "an object", json::serialize(*value));
  const Reader reader(value->as_object(), path + ": " + key);
  check_whole_heads_turn(reader);
  config.rope_theta = reader.positive_or("rope_theta", config.rope_theta);
  const std::string type = reader.text_or("rope_type", reader.text_or("type", "default").c_str());
  const int32_t most = std::numeric_limits<int32_t>::max();
  RopeScaling& rope = config.rope;
  rope.factor = reader.positive_or("factor", 1);
  rope.original_max_positions =
      top.integer_or("original_max_position_embeddings", 1, most,
                     reader.integer_or("original_max_position_embeddings", 1, most, config.max_positions));
  if (type == "default") {
    rope.kind = RopeScaling::Kind::none;
  } else if (type == "linear") {
    rope.kind = RopeScaling::Kind::linear;
  } else if (type == "llama3") {
    rope.kind = RopeScaling::Kind::llama3;
    rope.low_freq_factor = reader.positive_or("low_freq_factor", 1);
    rope.high_freq_factor = reader.number_or("high_freq_factor", 4);
    if (!(rope.high_freq_factor > rope.low_freq_factor)) {
      reader.fail("high_freq_factor", "more than low_freq_factor", std::to_string(rope.high_freq_factor));
    }
  } else if (type == "longrope" || type == "su") {
    read_longrope(reader, config);
  } else {
    reader.fail("rope_type", "default, linear, llama3 or longrope", type);
  }
}

void read_eos(const json::object& object, const std::string& path, int32_t vocab_size,
              std::vector<int32_t>& ids) {
  const Reader reader(object, path);
  const json::value* value = reader.find("eos_token_id");
  if (value == nullptr) return;
  const auto add = [&](const json::value& id) {
    ids.push_back(reader.to_integer("eos_token_id", id, 0, vocab_size - 1));
  };
  if (value->is_array()) {
    for (const json::value& id : value->as_array()) add(id);
  } else {
    add(*value);
  }
}

}  // namespace

ModelConfig read_model_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const json::object object = read_object(path);
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
  config.heads = reader.integer("num_attention_heads", 1, 1024);
  config.kv_heads = reader.integer_or("num_key_value_heads", 1, config.heads, config.heads);
  if (config.heads % config.kv_heads != 0 || config.heads / config.kv_heads > 8) {
    reader.fail("num_key_value_heads", "a divisor of num_attention_heads with at most 8 query heads each",
                std::to_string(config.kv_heads));
  }
  if (reader.find("head_dim") == nullptr && config.hidden % config.heads != 0) {
    reader.fail("hidden_size", "a multiple of num_attention_heads", std::to_string(config.hidden));
  }
  config.head_dim = reader.integer_or("head_dim", 1, 1024, config.hidden / config.heads);
  if (config.head_dim != 64 && config.head_dim != 96 && config.head_dim != 128) {
    reader.fail("head_dim", "64, 96 or 128", std::to_string(config.head_dim));
  }
  config.intermediate = reader.integer("intermediate_size", 1, 1 << 18);
  config.vocab_size = reader.integer("vocab_size", 1, 1 << 22);
  config.max_positions = reader.integer("max_position_embeddings", 1, 1 << 24);
  config.rms_eps = static_cast<float>(reader.positive_or("rms_norm_eps", 1e-6));
  config.tied_embeddings = reader.boolean_or("tie_word_embeddings", false);
  config.o_bias = family.attention_bias && reader.boolean_or("attention_bias", false);
  config.qkv_bias = family.qkv_bias || config.o_bias;
  config.mlp_bias = family.mlp_bias && reader.boolean_or("mlp_bias", false);
  const std::string activation = reader.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") reader.fail("hidden_act", "silu", activation);
  read_rope(reader, path, config);
  const bool windowed = reader.boolean_or("use_sliding_window", family.window_by_default);
  const int32_t window =
      reader.integer_or("sliding_window", 1, std::numeric_limits<int32_t>::max(), config.max_positions);
  if (windowed && window < config.max_positions) {
    config.max_positions = window;
    config.length_limit = "the sliding window of the model: every kept token is visible here";
  }
  config.stored_f32 = reader.text_or("torch_dtype", reader.text_or("dtype", "").c_str()) == "float32";
  read_eos(object, path, config.vocab_size, config.eos_ids);
  const std::string generation = folder + "/generation_config.json";
  if (std::ifstream(generation).good()) {
    read_eos(read_object(generation), generation, config.vocab_size, config.eos_ids);
  }
  std::sort(config.eos_ids.begin(), config.eos_ids.end());
  config.eos_ids.erase(std::unique(config.eos_ids.begin(), config.eos_ids.end()), config.eos_ids.end());
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
