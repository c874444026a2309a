#include "worker/memory_plan.h"

#include <gtest/gtest.h>

namespace batchmax::worker {
namespace {

constexpr uint64_t kGiB = 1ULL << 30;

// Llama-2-13B: 13,015,864,320 parameters.
ModelConfig llama_13b() {
  ModelConfig config;
  config.layers = 40;
  config.hidden = 5120;
  config.heads = config.kv_heads = 40;
  config.head_dim = 128;
  config.intermediate = 13824;
  config.vocab_size = 32000;
  return config;
}

TEST(MemoryPlan, KnowsWhatWeightsTake) {
  EXPECT_NEAR(static_cast<double>(weight_bytes(llama_13b(), 1, kernels::DType::bf16)), 2 * 13'015'864'320.0,
              1e6);
  // Everything but the embedding is shared out.
  const double embedding = 2.0 * 32000 * 5120;
  EXPECT_NEAR(static_cast<double>(weight_bytes(llama_13b(), 4, kernels::DType::bf16)),
              (2 * 13'015'864'320.0 - embedding) / 4 + embedding, 1e6);
  EXPECT_EQ(weight_bytes(llama_13b(), 2, kernels::DType::f32),
            2 * weight_bytes(llama_13b(), 2, kernels::DType::bf16));
}

TEST(MemoryPlan, TheCacheGetsWhatTheShareLeaves) {
  DeviceMemory memory;
  memory.total = 80 * kGiB;
  memory.free = 50 * kGiB;
  memory.utilization = 0.5;
  EXPECT_EQ(kv_share(memory), 10 * kGiB);
  memory.graphs = kGiB;
  EXPECT_EQ(kv_share(memory), 9 * kGiB);
  memory.sharers = 2;
  EXPECT_EQ(kv_share(memory), 4 * kGiB);
  memory.utilization = 0.375;  // all of it used by others
  EXPECT_EQ(kv_share(memory), 0U);
}

TEST(MemoryPlan, SaysWhatWouldWorkWhereWeightsDoNotFit) {
  const auto fit = [](uint64_t free) {
    return weights_do_not_fit(llama_13b(), 1, kernels::DType::bf16, kGiB, free);
  };
  EXPECT_EQ(fit(26 * kGiB), std::nullopt);
  EXPECT_EQ(fit(24 * kGiB).value(),
            "the weights do not fit: 24.2 GiB of weights and 1.0 of workspace per rank, 24.0 GiB of GPU "
            "memory free; "
            "--tensor-parallel-size 2 on as many GPUs would work");
  EXPECT_NE(fit(5 * kGiB).value().find("--tensor-parallel-size 8 "), std::string::npos);
  EXPECT_NE(fit(kGiB).value().find("use a GPU with more memory"), std::string::npos);
}

TEST(MemoryPlan, TellsWhereTheMemoryGoes) {
  DeviceMemory memory;
  memory.total = 80 * kGiB;
  memory.free = 50 * kGiB;
  memory.weights = 26 * kGiB;
  memory.workspace = 2 * kGiB;
  EXPECT_EQ(describe_memory(memory, 40 * kGiB),
            "80.0 GiB: weights 26.0, workspace 2.0, graphs 0.0, other 2.0, KV 40.0");
}

}  // namespace
}  // namespace batchmax::worker
