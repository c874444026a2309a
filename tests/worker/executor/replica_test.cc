// A replica from an operator's settings: what it offers, and what it refuses.
#include "worker/replica.h"

#include <gtest/gtest.h>

#include <atomic>

#include <fstream>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace batchmax::worker {
namespace {

class ReplicaTest : public ::testing::Test {
 protected:
  ReplicaTest() {
    std::ofstream(folder_.path() + "/config.json")
        << R"({"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,)"
           R"("num_key_value_heads":2,"head_dim":64,"intermediate_size":96,"vocab_size":50,)"
           R"("max_position_embeddings":1024,"eos_token_id":3})";
    settings_.model = folder_.path();
    settings_.load_format = "dummy";
    settings_.backend = "cpu";
    settings_.threads = 1;
    settings_.dtype = "float32";
    settings_.max_num_seqs = 4;
    settings_.compression.budget = 128;
    settings_.compression.block = 32;
    settings_.kv_cache_memory_bytes = 8 << 20;
  }
  // Runs `action` on every rank of a group of threads.
  template <typename Action>
  void on_ranks(int ranks, Action action) {
    const auto controls = comm::make_thread_control_groups(ranks);
    const auto tensors = comm::make_thread_tensor_groups(ranks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      const auto at = static_cast<size_t>(rank);
      threads.emplace_back([&, at] {
        monitoring::Progress progress(clock_);
        action(*make_replica(settings_, *controls[at], *tensors[at], clock_, monitoring::Log::silent(),
                             progress));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  std::string refusal(int ranks = 1) {
    const auto controls = comm::make_thread_control_groups(ranks);
    const auto tensors = comm::make_thread_tensor_groups(ranks);
    monitoring::Progress progress(clock_);
    try {
      make_replica(settings_, *controls[0], *tensors[0], clock_, monitoring::Log::silent(), progress);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "none";
  }
  TemporaryFolder folder_;
  config::Settings settings_;
  monitoring::SteadyClock clock_;
};

TEST_F(ReplicaTest, TellsWhatItOffers) {
  // A page: 2 layers x 64 slots x 2 heads x (2 x 64 x 4 + 8) bytes over all ranks.
  const uint64_t page = uint64_t{2} * 64 * 2 * (2 * 64 * 4 + 8);
  for (const int ranks : {1, 2}) {
    on_ranks(ranks, [&](Replica& replica) {
      const ReplicaFacts& facts = replica.executor().facts();
      const auto pages =
          static_cast<int32_t>(std::min<uint64_t>(4 * 16, static_cast<uint64_t>(ranks) * (8 << 20) / page));
      EXPECT_EQ(facts.capacity_pages, pages);
      EXPECT_EQ(facts.max_sequences, 4);
      EXPECT_EQ(facts.max_table_pages, 16);
      EXPECT_EQ(facts.max_model_len, 1024);
      EXPECT_EQ(facts.vocab_size, 50);
      EXPECT_EQ(facts.eos_ids, (std::vector<int32_t>{3}));
      EXPECT_EQ(facts.kv_bytes_per_slot, page / 64);
      EXPECT_EQ(facts.kv_bytes, page * static_cast<uint64_t>(pages));
      EXPECT_GT(facts.weight_bytes, 4U * 64 * 50);
      EXPECT_GT(facts.workspace_bytes, 0U);
      EXPECT_GT(facts.free_bytes, 0U);
      EXPECT_EQ(facts.kv_heads, 2);
      EXPECT_EQ(replica.scheduler_limits().max_num_batched_tokens, 4 + 4 * 32);
      EXPECT_FALSE(replica.scheduler_limits().wants_mass);
    });
  }
}

// The largest step that the limits allow, with every kind of row, finds its scratch memory.
TEST_F(ReplicaTest, AnswersTheSameOnEveryRank) {
  settings_.score = "average";
  settings_.eviction_scope = config::Scope::layer;
  std::vector<std::vector<int32_t>> answers(2);
  std::atomic<size_t> next = 0;
  on_ranks(2, [&](Replica& replica) {
    Scheduler scheduler(replica.scheduler_limits(), clock_);
    for (uint64_t id = 1; id <= 4; ++id) {
      SequenceRequest request;
      request.request = id;
      request.tokens.assign(static_cast<size_t>(150 + 20 * id), static_cast<int32_t>(id));
      request.prompt_length = static_cast<int32_t>(request.tokens.size());
      request.max_tokens = 12;
      request.sampling.temperature = 0;
      request.compression = std::get<config::Compression>(config::resolve(
          settings_.compression, std::nullopt, id % 2 == 0 ? config::Mode::decode : config::Mode::full));
      scheduler.submit(request);
    }
    std::vector<int32_t>& answer = answers[next++];
    while (const auto plan = scheduler.plan()) {
      replica.executor().launch(*plan);
      const std::vector<int32_t> ids = replica.executor().collect().ids;
      answer.insert(answer.end(), ids.begin(), ids.end());
      scheduler.complete(ids);
    }
  });
  EXPECT_EQ(answers[0].size(), 4U * 12);
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(ReplicaTest, RefusesWithWhatWouldWork) {
  EXPECT_NE(refusal(3).find("values that work: 1, 2"), std::string::npos);
  settings_.kv_cache_memory_bytes = 1000;
  EXPECT_NE(refusal().find("KV memory too small for one sequence"), std::string::npos);
  settings_.kv_cache_memory_bytes = uint64_t{1} << 60;
  EXPECT_NE(refusal().find("no memory for the KV cache"), std::string::npos);
  settings_.kv_cache_memory_bytes = 8 << 20;
  settings_.max_model_len = 2000;
  EXPECT_EQ(refusal(), "--max-model-len 2000 is more than this model takes: 1024 tokens");
  settings_.max_model_len = 0;
  settings_.load_format = "auto";
  EXPECT_NE(refusal().find("expected model.safetensors or model.safetensors.index.json"), std::string::npos);
  settings_.model += "/nowhere";
  EXPECT_NE(refusal().find("config.json: cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace batchmax::worker
