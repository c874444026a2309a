// Mode off equals Hugging Face transformers on the same checkpoints: logits at chosen positions of a prompt,
// and the tokens that greedy decoding appends. The data is made by tests/golden/make_models.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/linear/linear.h"
#include "tests/kernels/on_backend.h"
#include "tests/support/engine.h"
#include "tests/support/golden_data.h"

namespace batchmax::worker {
namespace {

EngineOptions options_for(const Golden& golden, kernels::Backend backend) {
  EngineOptions options;
  options.backend = backend;
  options.model = read_model_config(golden.checkpoint);
  const auto length = static_cast<int32_t>(golden.prompt.size() + golden.greedy.size());
  options.limits = {256, 64, length};
  options.pages = (length + kernels::kPageSlots - 1) / kernels::kPageSlots;
  return options;
}

// The prompt in blocks of `block`, drawing at every golden position. Returns the greatest |difference| of a
// logit.
float greatest_difference(Engine& engine, const ModelConfig& model, const Golden& golden, int32_t pages,
                          int32_t block) {
  const auto prompt = static_cast<int32_t>(golden.prompt.size());
  float greatest = 0;
  size_t next = 0;
  for (int32_t begin = 0; begin < prompt; begin += block) {
    StepPlan plan;
    kernels::Row row{};
    row.resident = row.position = begin;
    row.token_count = std::min(block, prompt - begin);
    row.queue_index = -1;
    row.rope_table = prompt > short_rope_positions(model) ? 1 : 0;
    row.keep = begin + row.token_count;
    plan.rows.push_back(row);
    plan.row_counts[static_cast<size_t>(RowKind::append)] = 1;
    plan.prompt_tokens.assign(golden.prompt.begin() + begin, golden.prompt.begin() + row.keep);
    if (begin == 0) {
      plan.page_tables.push_back({0, 0, {}});
      for (int32_t page = 0; page < pages; ++page) plan.page_tables[0].pages.push_back(page);
    }
    const size_t first = next;
    for (; next < golden.positions.size() && golden.positions[next] < row.keep; ++next) {
      kernels::SampleRow sample{};
      sample.top_p = 1;
      sample.position = golden.positions[next] + 1;
      sample.token = golden.positions[next] - begin;
      plan.samples.push_back(sample);
    }
    engine.executor().launch(plan);
    engine.executor().collect();
    for (size_t i = first; i < next; ++i) {
      const std::vector<float>& got = engine.logits().at(i - first);
      for (size_t id = 0; id < got.size(); ++id) {
        const float difference = std::abs(got[id] - golden.logits[i][id]);
        EXPECT_FALSE(std::isnan(difference));
        greatest = std::max(greatest, difference);
      }
    }
  }
  EXPECT_EQ(next, golden.positions.size());
  return greatest;
}

class AgainstTransformers : public ::testing::TestWithParam<std::tuple<kernels::Backend, const char*>> {
 protected:
  kernels::Backend backend_ = std::get<0>(GetParam());
  const char* name_ = std::get<1>(GetParam());
};

float largest_logit(const Golden& golden) {
  float most = 0;
  for (const auto& row : golden.logits) {
    for (const float logit : row) most = std::max(most, std::abs(logit));
  }
  return most;
}

TEST_P(AgainstTransformers, SameLogits) {
  const Golden golden = read_golden(BATCHMAX_SOURCE_DIR, name_);
  const EngineOptions options = options_for(golden, backend_);
  const auto source = checkpoint_source(golden.checkpoint);
  const auto groups = comm::make_thread_tensor_groups(1);
  Engine engine(options, *source, *groups[0]);
  const float most = largest_logit(golden);
  for (const int32_t block : {256, 37}) {
    const float greatest = greatest_difference(engine, options.model, golden, options.pages, block);
    std::printf("%s, blocks of %d: max |difference of logits| %.2e (logits up to %.1f)\n", name_, block,
                static_cast<double>(greatest), static_cast<double>(most));
    EXPECT_LT(greatest, 1e-4F * std::max(1.0F, most));
  }
}

// Weights, activations and KV of 8 bits of mantissa: the logits move, by about the rounding of every layer.
TEST_P(AgainstTransformers, LogitsOfBf16AreClose) {
  const kernels::Stream stream = kernels::testing::stream_of(backend_);
  if (kernels::preferred_compute(stream) != kernels::DType::bf16) GTEST_SKIP() << "no products of bf16 here";
  const Golden golden = read_golden(BATCHMAX_SOURCE_DIR, name_);
  EngineOptions options = options_for(golden, backend_);
  options.compute = options.kv = kernels::DType::bf16;
  const auto source = checkpoint_source(golden.checkpoint);
  const auto groups = comm::make_thread_tensor_groups(1);
  Engine engine(options, *source, *groups[0]);
  const float greatest = greatest_difference(engine, options.model, golden, options.pages, 256);
  std::printf("%s in bf16: max |difference of logits| %.2e\n", name_, static_cast<double>(greatest));
  EXPECT_LT(greatest, 0.06F * std::max(1.0F, largest_logit(golden)));
}

TEST_P(AgainstTransformers, SameGreedyTokens) {
  const Golden golden = read_golden(BATCHMAX_SOURCE_DIR, name_);
  const auto source = checkpoint_source(golden.checkpoint);
  const auto groups = comm::make_thread_tensor_groups(1);
  Engine engine(options_for(golden, backend_), *source, *groups[0]);
  config::Compression rule;
  rule.mode = config::Mode::off;
  rule.block = 128;
  const SequenceRequest request =
      greedy_request(1, golden.prompt, static_cast<int32_t>(golden.greedy.size()), rule);
  EXPECT_EQ(run_requests(engine, std::span(&request, 1), [](const StepPlan&) {})[0], golden.greedy);
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
                                                              "longbook-17m")),
                         [](const auto& parameter) { return name_of_case(parameter.param); });

}  // namespace
}  // namespace batchmax::worker
