// Mode off equals Hugging Face transformers on the same checkpoints: logits at chosen positions of a prompt,
// and the tokens that greedy decoding appends. The data is made by tests/golden/make_models.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/core/threads.h"
#include "kernels/linear/linear.h"
#include "tests/kernels/on_backend.h"
#include "tests/worker/model/golden_scenario.h"

namespace batchmax::worker {
namespace {

class AgainstTransformers : public ::testing::TestWithParam<std::tuple<kernels::Backend, const char*>> {
 protected:
  EngineOptions place(kernels::DType dtype) const {
    EngineOptions options;
    options.backend = std::get<0>(GetParam());
    options.compute = options.kv = dtype;
    return options;
  }
  const char* name_ = std::get<1>(GetParam());
  std::vector<std::unique_ptr<comm::TensorGroup>> groups_ = comm::make_thread_tensor_groups(1);
};

TEST_P(AgainstTransformers, SameLogits) {
  GoldenRank rank(name_, place(kernels::DType::f32), *groups_[0]);
  for (const int32_t block : {256, 37}) {
    const float greatest = rank.greatest_difference(block);
    std::printf("%s, blocks of %d: max |difference of logits| %.2e (logits up to %.1f)\n", name_, block,
                static_cast<double>(greatest), static_cast<double>(rank.largest_logit()));
    EXPECT_LT(greatest, rank.tolerance());
  }
}

TEST_P(AgainstTransformers, LogitsOfBf16AreClose) {
  const kernels::Stream stream = kernels::testing::stream_of(std::get<0>(GetParam()));
  if (kernels::preferred_compute(stream) != kernels::DType::bf16) GTEST_SKIP() << "no products of bf16 here";
  GoldenRank rank(name_, place(kernels::DType::bf16), *groups_[0]);
  const float greatest = rank.greatest_difference(256);
  std::printf("%s in bf16: max |difference of logits| %.2e\n", name_, static_cast<double>(greatest));
  EXPECT_LT(greatest, rank.tolerance());
}

TEST_P(AgainstTransformers, SameGreedyTokens) {
  GoldenRank rank(name_, place(kernels::DType::f32), *groups_[0]);
  config::Compression rule;
  rule.mode = config::Mode::off;
  rule.block = 128;
  const SequenceRequest request =
      greedy_request(1, rank.golden.prompt, static_cast<int32_t>(rank.golden.greedy.size()), rule);
  EXPECT_EQ(run_requests(rank.engine, std::span(&request, 1), [](const StepPlan&) {})[0], rank.golden.greedy);
}

// Ranks that share heads, fused projections and the output layer, and of whom one adds each bias.
TEST(AgainstTransformersInRanks, SameLogits) {
  std::vector<kernels::DType> dtypes{kernels::DType::f32};
  if (kernels::preferred_compute(kernels::Stream::cpu()) == kernels::DType::bf16)
    dtypes.push_back(kernels::DType::bf16);
  for (const kernels::DType dtype : dtypes) {
    EngineOptions place;
    place.compute = place.kv = dtype;
    for (const int ranks : {2, 4}) {
      const auto groups = comm::make_thread_tensor_groups(ranks);
      std::vector<std::thread> threads;
      for (const auto& group : groups) {
        threads.emplace_back([&] {
          kernels::use_cpu_threads(1);
          expect_golden_logits(place, *group);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
  }
}

TEST(Loading, TakesTheOutputLayerThatIsThere) {
  const kernels::Stream stream = kernels::testing::stream_of(kernels::Backend::cpu);
  const std::string folder = read_golden(BATCHMAX_SOURCE_DIR, "tiny-llama-2").checkpoint;
  const auto logits = [&](bool tied) {
    ModelConfig config = read_model_config(folder);
    config.tied_embeddings = tied;
    const auto source = checkpoint_source(folder);
    const Weights weights = load_weights(stream, config, {0, 1}, kernels::DType::f32, *source, [](double) {});
    std::vector<float> hidden(static_cast<size_t>(config.hidden), 1.0F);
    std::vector<float> out(static_cast<size_t>(config.vocab_size));
    weights.output->run(stream, kernels::Tensor(hidden.data(), kernels::DType::f32, {1, config.hidden}),
                        kernels::Tensor(out.data(), kernels::DType::f32, {1, config.vocab_size}));
    return out;
  };
  EXPECT_EQ(logits(true), logits(false));
}

// A checkpoint with more in it than its config.json says is another model's.
TEST(Loading, RefusesWeightsThatTheConfigDenies) {
  const kernels::Stream stream = kernels::testing::stream_of(kernels::Backend::cpu);
  const auto error = [&](const char* name, const auto& change) {
    const std::string folder = read_golden(BATCHMAX_SOURCE_DIR, name).checkpoint;
    ModelConfig config = read_model_config(folder);
    change(config);
    try {
      const auto source = checkpoint_source(folder);
      load_weights(stream, config, {0, 1}, kernels::DType::f32, *source, [](double) {});
    } catch (const std::runtime_error& refusal) {
      return std::string(refusal.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error("tiny-llama-bias", [](ModelConfig&) {}), "no error");
  EXPECT_NE(error("tiny-llama-3", [](ModelConfig& config) { --config.layers; }).find("num_hidden_layers"),
            std::string::npos);
  const auto denied = [&](const char* name, const auto& change, const char* tensor) {
    EXPECT_NE(error(name, change).find(std::string(tensor) + ": expected none"), std::string::npos) << tensor;
  };
  denied(
      "tiny-llama-bias", [](ModelConfig& config) { config.qkv_bias = false; }, "self_attn.q_proj.bias");
  denied(
      "tiny-llama-bias", [](ModelConfig& config) { config.o_bias = false; }, "self_attn.o_proj.bias");
  denied(
      "tiny-llama-bias", [](ModelConfig& config) { config.mlp_bias = false; }, "mlp.down_proj.bias");
  denied(
      "tiny-qwen3", [](ModelConfig& config) { config.qk_norm = false; }, "self_attn.q_norm.weight");
}

std::string name_of_case(const AgainstTransformers::ParamType& parameter) {
  std::string text = std::get<0>(parameter) == kernels::Backend::cuda ? "cuda_" : "cpu_";
  text += std::get<1>(parameter);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(Models, AgainstTransformers,
                         ::testing::Combine(::testing::ValuesIn(kernels::testing::backends()),
                                            ::testing::Values("tiny-llama-2", "tiny-llama-3",
                                                              "tiny-llama-bias", "tiny-mistral", "tiny-qwen2",
                                                              "tiny-qwen3", "tiny-phi3", "tiny-phi3-long",
                                                              "tiny-qwen3-yarn", "tiny-llama-ranks",
                                                              "tiny-phi3-ranks", "longbook-17m")),
                         [](const auto& parameter) { return name_of_case(parameter.param); });

}  // namespace
}  // namespace batchmax::worker
