#include "worker/model/model_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/support/temporary_folder.h"

namespace batchmax::worker {
namespace {

const std::string kLlama =
    R"("architectures":["LlamaForCausalLM"],"hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,)"
    R"("num_key_value_heads":4,"intermediate_size":1024,"vocab_size":100,"max_position_embeddings":4096)";

class ModelConfigTest : public ::testing::Test {
 protected:
  ModelConfig read(const std::string& fields, const std::string& generation = "") {
    std::ofstream(folder_.path() + "/config.json") << "{" << fields << "}";
    if (!generation.empty()) std::ofstream(folder_.path() + "/generation_config.json") << generation;
    return read_model_config(folder_.path());
  }
  std::string error(const std::string& fields) {
    try {
      read(fields);
    } catch (const std::runtime_error& failure) {
      const std::string path = folder_.path() + "/config.json: ";
      const std::string text = failure.what();
      EXPECT_TRUE(text.starts_with(path)) << text;
      return text.substr(std::min(text.size(), path.size()));
    }
    return "no error";
  }
  TemporaryFolder folder_;
};

TEST_F(ModelConfigTest, ReadsALlama) {
  const ModelConfig config = read(kLlama + R"(,"rope_theta":500000,"eos_token_id":2,"rms_norm_eps":1e-5)",
                                  R"({"eos_token_id":[2,7]})");
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_FALSE(config.qkv_bias || config.o_bias || config.mlp_bias || config.stored_f32);
}

TEST_F(ModelConfigTest, FamiliesDifferByTheirRow) {
  const auto of = [&](const std::string& architecture, const std::string& more) {
    std::string fields = kLlama + more;
    return read(fields.replace(fields.find("LlamaForCausalLM"), 16, architecture));
  };
  EXPECT_TRUE(of("Qwen2ForCausalLM", "").qkv_bias);
  EXPECT_FALSE(of("Qwen2ForCausalLM", "").o_bias);
  EXPECT_TRUE(of("Qwen3ForCausalLM", "").qk_norm);
  EXPECT_TRUE(of("Phi3ForCausalLM", "").fused_projections);
  EXPECT_TRUE(of("LlamaForCausalLM", R"(,"attention_bias":true)").o_bias);
  EXPECT_TRUE(of("LlamaForCausalLM", R"(,"mlp_bias":true)").mlp_bias);
}

TEST_F(ModelConfigTest, AWindowLimitsTheLength) {
  EXPECT_EQ(read(kLlama + R"(,"sliding_window":1000)").max_positions, 1000);
  EXPECT_NE(read(kLlama + R"(,"sliding_window":1000)").length_limit, "");
  EXPECT_EQ(read(kLlama + R"(,"sliding_window":null)").max_positions, 4096);
  EXPECT_EQ(read(kLlama + R"(,"sliding_window":1000,"use_sliding_window":false)").max_positions, 4096);
}

TEST_F(ModelConfigTest, AWindowThatNoLayerHasLimitsNothing) {
  const std::string qwen = std::string(kLlama).replace(kLlama.find("Llama"), 5, "Qwen2");
  const std::string on = qwen + R"(,"sliding_window":1000,"use_sliding_window":true)";
  EXPECT_EQ(read(on).max_positions, 4096) << "the window begins at layer 28";
  EXPECT_EQ(read(on + R"(,"max_window_layers":1)").max_positions, 1000);
  EXPECT_EQ(read(on + R"(,"layer_types":["full_attention","sliding_attention"])").max_positions, 1000);
  EXPECT_EQ(
      read(on + R"(,"max_window_layers":1,"layer_types":["full_attention","full_attention"])").max_positions,
      4096);
  EXPECT_EQ(error(on + R"(,"layer_types":["chunked_attention"])"),
            R"(layer_types: expected full_attention or sliding_attention, found "chunked_attention")");
}

// transformers' classes have other defaults than "as the rest of the file suggests".
TEST_F(ModelConfigTest, AbsentKeysMeanTheDefaultsOfTheFamily) {
  const auto of = [&](const std::string& architecture, const std::string& more = "", int heads = 32) {
    return read(R"("architectures":[")" + architecture +
                R"(ForCausalLM"],"hidden_size":2048,"num_hidden_layers":2,"num_attention_heads":)" +
                std::to_string(heads) + R"(,"intermediate_size":64,"vocab_size":40000)" + more);
  };
  const ModelConfig llama = of("Llama");
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_EQ(llama.kv_heads, 32);
  EXPECT_EQ(llama.eos_ids, std::vector<int32_t>{2});
  const ModelConfig mistral = of("Mistral");
  EXPECT_EQ(mistral.max_positions, 4096) << "the default window of 131,072 positions";
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(of("Mistral", R"(,"sliding_window":null)").max_positions, 131072);
  EXPECT_EQ(of("Mistral", R"(,"num_key_value_heads":null)").kv_heads, 32);
  const ModelConfig qwen = of("Qwen3");
  EXPECT_EQ(qwen.max_positions, 32768);
  EXPECT_EQ(qwen.head_dim, 128);
  EXPECT_EQ(qwen.eos_ids, std::vector<int32_t>{});
  EXPECT_EQ(of("Qwen2").head_dim, 64);
  const ModelConfig phi = of("Phi3");
  EXPECT_EQ(phi.max_positions, 4096);
  EXPECT_FLOAT_EQ(phi.rms_eps, 1e-5F);
  EXPECT_EQ(phi.eos_ids, std::vector<int32_t>{32000});
  EXPECT_EQ(of("Llama", R"(,"eos_token_id":null)").eos_ids, std::vector<int32_t>{});
  EXPECT_EQ(read(kLlama + R"(,"eos_token_id":[2,100])").eos_ids, std::vector<int32_t>{2})
      << "100 is beyond the vocabulary";
}

// The whole length counts; which factors a request takes is for the scheduler to say.
TEST_F(ModelConfigTest, LongropeKeepsTheLengthAndDerivesItsScale) {
  const std::string phi = std::string(kLlama).replace(kLlama.find("Llama"), 5, "Phi3") +
                          R"(,"head_dim":64,"original_max_position_embeddings":1024)";
  std::string list = "[1";
  for (int i = 1; i < 32; ++i) list += ",1.5";
  const std::string scaling =
      R"(,"rope_scaling":{"type":"longrope","short_factor":)" + list + R"(],"long_factor":)" + list + "]";
  const ModelConfig config = read(phi + scaling + "}");
  EXPECT_EQ(config.max_positions, 4096);
  EXPECT_EQ(config.rope.original_max_positions, 1024);
  EXPECT_DOUBLE_EQ(config.rope.attention_factor, std::sqrt(1 + std::log(4) / std::log(1024)));
  EXPECT_EQ(read(phi + scaling + R"(,"original_max_position_embeddings":9})").rope.original_max_positions,
            1024)
      << "as transformers has it";
  EXPECT_DOUBLE_EQ(read(phi + scaling + R"(,"factor":32})").rope.attention_factor,
                   std::sqrt(1 + std::log(32) / std::log(1024)));
  EXPECT_EQ(read(phi + scaling + R"(,"attention_factor":1.25})").rope.attention_factor, 1.25);
}

TEST_F(ModelConfigTest, YarnMakesTheModelLonger) {
  const auto of = [&](const std::string& fields) {
    return read(kLlama + R"(,"rope_scaling":{"rope_type":"yarn","factor":4)" + fields + "}");
  };
  const ModelConfig config = of("");
  EXPECT_EQ(config.rope.original_max_positions, 4096) << "what the config says beside it";
  EXPECT_EQ(config.max_positions, 16384);
  EXPECT_DOUBLE_EQ(config.rope.attention_factor, 0.1 * std::log(4) + 1);
  EXPECT_EQ(of(R"(,"original_max_position_embeddings":512)").max_positions, 4096) << "never shorter";
  EXPECT_EQ(of(R"(,"attention_factor":1.25)").rope.attention_factor, 1.25);
  EXPECT_EQ(of(R"(,"mscale":0.7,"mscale_all_dim":0.7)").rope.attention_factor, 1);
  EXPECT_EQ(error(kLlama + R"(,"rope_scaling":{"rope_type":"yarn"})"),
            "rope_scaling: factor: expected a positive number, found nothing");
}

TEST_F(ModelConfigTest, RopeScalingAddedByHandCountsBeforeRopeParameters) {
  const std::string fields = kLlama + R"(,"rope_parameters":{"rope_type":"default","rope_theta":7})";
  EXPECT_EQ(read(fields).rope_theta, 7);
  EXPECT_EQ(read(fields + R"(,"rope_scaling":{})").rope_theta, 7);
  EXPECT_EQ(read(fields + R"(,"rope_scaling":null)").rope_theta, 7);
  EXPECT_EQ(error(fields + R"(,"rope_scaling":{"rope_type":"dynamic"})"),
            "rope_scaling: rope_type: expected default, linear, llama3, longrope or yarn, found dynamic");
}

TEST_F(ModelConfigTest, NamesKeyExpectedAndFound) {
  EXPECT_EQ(error(R"("architectures":["GPT2LMHeadModel"])"),
            "architectures: expected one of LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
            "Qwen3ForCausalLM, "
            "Phi3ForCausalLM, found [\"GPT2LMHeadModel\"]");
  EXPECT_NE(error(R"("architectures":"LlamaForCausalLM")").find("found \"LlamaForCausalLM\""),
            std::string::npos);
  EXPECT_EQ(error(R"("architectures":["LlamaForCausalLM"])"),
            "num_hidden_layers: expected an integer, found nothing");
  EXPECT_EQ(error(kLlama + R"(,"head_dim":80)"), "head_dim: expected 64, 96 or 128, found 80");
  EXPECT_EQ(error(kLlama + R"(,"hidden_act":"gelu")"), "hidden_act: expected silu, found gelu");
  EXPECT_EQ(error(kLlama + R"(,"rope_scaling":{"rope_type":"dynamic"})"),
            "rope_scaling: rope_type: expected default, linear, llama3, longrope or yarn, found dynamic");
  EXPECT_EQ(error(kLlama + R"(,"rope_scaling":{"rope_type":"linear","factor":0})"),
            "rope_scaling: factor: expected a positive number, found 0.000000");
  EXPECT_EQ(error(kLlama + R"(,"rope_scaling":{"type":"linear"})"),
            "rope_scaling: factor: expected a positive number, found nothing");
  EXPECT_EQ(error(kLlama + R"(,"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":1})"),
            "rope_scaling: high_freq_factor: expected a positive number, found nothing");
  EXPECT_EQ(
      error(kLlama + R"(,"rope_parameters":{"full_attention":{"rope_theta":5}})"),
      R"(rope_parameters: full_attention: expected one setting for all layers, found {"rope_theta":5})");
  EXPECT_EQ(
      error(kLlama + R"(,"rope_scaling":{"rope_type":"longrope","short_factor":[1],"long_factor":[1]})"),
      "rope_scaling: short_factor: expected 32 positive numbers, found [1]");
  EXPECT_EQ(error(kLlama + R"(,"partial_rotary_factor":0.75)"),
            "partial_rotary_factor: expected 1, found 0.750000");
  EXPECT_EQ(error(kLlama + R"(,"rope_parameters":{"partial_rotary_factor":0.5})"),
            "rope_parameters: partial_rotary_factor: expected 1, found 0.500000");
  EXPECT_EQ(error(kLlama + R"(,"quantization_config":{"quant_method":"awq","bits":4})"),
            "quantization_config: expected nothing, for weights of fp32, fp16 or bf16, found \"awq\"");
  EXPECT_EQ(error(kLlama + R"(,"vocab_size":"many")"),
            "vocab_size: expected an integer from 1 to 4194304, found \"many\"");
  EXPECT_EQ(error(kLlama + R"(,"num_attention_heads":-8)"),
            "num_attention_heads: expected an integer from 1 to 1024, found -8");
  EXPECT_EQ(error(kLlama + R"(,"num_key_value_heads":3)"),
            "num_key_value_heads: expected a divisor of num_attention_heads with at most 8 query heads each, "
            "found 3");
  EXPECT_EQ(error(kLlama + R"(,"rms_norm_eps":0)"),
            "rms_norm_eps: expected a positive number, found 0.000000");
  EXPECT_EQ(error(kLlama + R"(,"eos_token_id":-1)"),
            "eos_token_id: expected an integer from 0 to 2147483647, found -1");
  EXPECT_EQ(error(kLlama + R"(,"tie_word_embeddings":1)"),
            "tie_word_embeddings: expected true or false, found 1");
  EXPECT_NE(error("broken").find("not valid JSON"), std::string::npos);
}

TEST_F(ModelConfigTest, AGenerationConfigThatIsThereMustBeRead) {
  std::filesystem::create_directory(folder_.path() + "/generation_config.json");
  try {
    read(kLlama);
    FAIL();
  } catch (const std::runtime_error& failure) {
    EXPECT_EQ(failure.what(), folder_.path() + "/generation_config.json: expected a file, found a folder");
  }
}

TEST_F(ModelConfigTest, SaysWhenThereIsNoModel) {
  try {
    read_model_config(folder_.path());
    FAIL();
  } catch (const std::runtime_error& failure) {
    EXPECT_NE(
        std::string(failure.what()).find("config.json: cannot be read; expected a Hugging Face model folder"),
        std::string::npos);
  }
}

TEST_F(ModelConfigTest, ListsTheRanksThatWork) {
  const ModelConfig config = read(kLlama);
  check_tensor_parallel(config, 1);
  check_tensor_parallel(config, 4);
  try {
    check_tensor_parallel(config, 3);
    FAIL();
  } catch (const std::runtime_error& failure) {
    EXPECT_NE(std::string(failure.what()).find("values that work: 1, 2, 4"), std::string::npos)
        << failure.what();
  }
}

}  // namespace
}  // namespace batchmax::worker
