#include "worker/kv/kv_cache.h"

#include <gtest/gtest.h>

#include <array>

#include "worker/kv/kv_capacity.h"

namespace batchmax::worker {
namespace {

TEST(KvCache, LaysOutKvPosAndMassWithoutOverlapOrGap) {
  const KvShape shape{3, 2, 64, kernels::DType::bf16, 4, 5, 8};
  const kernels::Stream stream = kernels::Stream::cpu();
  KvCache cache(stream, shape, 7);
  const kernels::KvView& view = cache.view();
  const auto* begin = static_cast<const std::byte*>(view.kv);
  const size_t tiles = 3 * 7 * 2;
  EXPECT_EQ(view.tile_index(2, 6, 1), tiles - 1);
  EXPECT_EQ(reinterpret_cast<const std::byte*>(view.pos), begin + tiles * view.tile_elements() * 2);
  EXPECT_EQ(reinterpret_cast<const std::byte*>(view.mass),
            reinterpret_cast<const std::byte*>(view.pos) + tiles * kernels::kPageSlots * 4);
  const auto* end = reinterpret_cast<const std::byte*>(view.mass + tiles * kernels::kPageSlots);
  EXPECT_EQ(static_cast<size_t>(end - begin), 7 * KvCache::bytes_per_page(shape));
  EXPECT_EQ(cache.queues().describe(), "i32[4, 3, 2, 8]");
}

TEST(KvCache, PageTablesAreUpdatedInPlace) {
  const kernels::Stream stream = kernels::Stream::cpu();
  KvCache cache(stream, {1, 1, 64, kernels::DType::f32, 3, 4, 1}, 12);
  cache.set_page_table(stream, 1, 0, std::array<int32_t, 4>{3, 1, 4, 2});
  cache.set_page_table(stream, 2, 0, std::array<int32_t, 1>{9});
  cache.set_page_table(stream, 1, 2, std::array<int32_t, 2>{7, 8});
  const int32_t* table = cache.view().page_tables + cache.view().table_stride;
  EXPECT_EQ(std::vector<int32_t>(table, table + 5), (std::vector<int32_t>{3, 1, 7, 8, 9}));
}

KvDemand demand(config::Mode mode, int32_t budget, int32_t length) {
  KvDemand demand;
  demand.compression.mode = mode;
  demand.compression.budget = budget;
  demand.max_model_len = length;
  demand.max_sequences = 10;
  return demand;
}

TEST(KvCapacity, IsWhatFitsAndWhatCanBeUsed) {
  EXPECT_EQ(std::get<int32_t>(kv_capacity(1000 * 50 + 49, 1000, demand(config::Mode::full, 1024, 4096))), 50);
  EXPECT_EQ(std::get<int32_t>(kv_capacity(1ULL << 50, 1000, demand(config::Mode::full, 1024, 4096))),
            10 * 64);
  EXPECT_EQ(std::get<int32_t>(kv_capacity(16 * 1000, 1000, demand(config::Mode::full, 1024, 4096))), 16);
  EXPECT_EQ(std::get<int32_t>(kv_capacity(1000, 1000, demand(config::Mode::off, 1024, 4096))), 1);
}

TEST(KvCapacity, SaysWhatWouldWorkWhenNoSequenceFits) {
  const auto small = kv_capacity(15'999, 1000, demand(config::Mode::full, 1024, 4096));
  EXPECT_EQ(std::get<KvMemoryTooSmall>(small).message,
            "KV memory too small for one sequence: 15,999 bytes per rank hold 15 pages of 64 tokens, one "
            "sequence at "
            "budget 1024 needs 16. Set --kv-cache-memory-bytes to 16000 or more, or lower --kv-budget");
  const auto none = kv_capacity(999, 1000, demand(config::Mode::off, 1024, 4096));
  EXPECT_EQ(std::get<KvMemoryTooSmall>(none).message,
            "KV memory too small for one sequence: 999 bytes per rank hold 0 pages of 64 tokens, one is "
            "needed. Set "
            "--kv-cache-memory-bytes to 1000 or more");
}

TEST(KvCapacity, SaysWhatTheMemoryBuys) {
  EXPECT_EQ(describe_capacity(2298, demand(config::Mode::full, 1024, 4096)),
            "KV 147,072 tokens; 143 sequences of any prompt length at budget 1024 (35 of 4096 tokens without "
            "compression)");
  EXPECT_EQ(
      describe_capacity(2298, demand(config::Mode::off, 1024, 4096)),
      "KV 147,072 tokens; 35 sequences of 4096 tokens (143 of any prompt length with --compression full at "
      "budget 1024)");
  EXPECT_EQ(describe_capacity(20, demand(config::Mode::full, 1024, 4096)),
            "KV 1,280 tokens; 1 sequence of any prompt length at budget 1024 (0 of 4096 tokens without "
            "compression; "
            "the longest without compression has 1,280 tokens)");
}

}  // namespace
}  // namespace batchmax::worker
