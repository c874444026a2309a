// What an amount of memory buys: pages, sequences, the line that start-up prints. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "config/compression.h"

namespace batchmax::worker {

// What the server's settings ask of the cache.
struct KvDemand {
  config::Compression compression;  // of a request that brings none of its own
  int32_t max_model_len = 0;
  int32_t max_sequences = 0;
};

// Entries of one page table: pages of the longest sequence in any mode.
int32_t table_pages(const KvDemand& demand);

struct KvMemoryTooSmall {
  std::string message;  // what is there, what one sequence needs, what would work
};

// Pages that `bytes` of every rank hold, at most what max_sequences can use. One sequence must fit: in mode
// full one of any length, else one page's worth.
std::variant<int32_t, KvMemoryTooSmall> kv_capacity(uint64_t bytes, size_t bytes_per_page,
                                                    const KvDemand& demand);

// "KV 147,072 tokens; 143 sequences of any prompt length at budget 1024 (35 of 4096 tokens without
// compression)"
std::string describe_capacity(int32_t pages, const KvDemand& demand);

}  // namespace batchmax::worker
