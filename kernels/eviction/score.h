// What a slot is worth: higher stays. One pure function per score over the candidates of a selection.
//   average       mass / age, age = t_now − pos                      needs mass
//   key_distance  ‖u − μ‖   u: key before RoPE, μ: mean of u over the candidates, per KV head
//   key_diff      − cos(u, μ)
//   recency       pos
//   random        hash(row.seed, layer, global KV head, pos) as a float in [0, 1)
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

enum class Score : uint8_t { average, key_distance, key_diff, recency, random };
BATCHMAX_HOST_DEVICE constexpr bool needs_mass(Score score) { return score == Score::average; }

// 24 random bits in [0, 1): the same value on every backend and rank.
BATCHMAX_HOST_DEVICE inline float random_score(uint64_t seed, int32_t layer, int32_t global_head,
                                               int32_t position) {
  uint64_t x = seed ^ (static_cast<uint64_t>(static_cast<uint32_t>(layer)) << 40) ^
               (static_cast<uint64_t>(static_cast<uint32_t>(global_head)) << 52) ^
               static_cast<uint64_t>(static_cast<uint32_t>(position));
  // splitmix64 finaliser (Steele, Lea, Flood 2014; public-domain constants)
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return static_cast<float>(x >> 40) * (1.0F / 16777216.0F);
}

// Which slots and tokens compete in a selection.
enum class Pool : uint8_t {
  block,  // prefill: slots [0, row.resident) and the block's tokens in staging
  tail,   // compaction: slots [0, row.resident + row.token_count), the block has been stored already
  slots,  // after the step: slots [0, row.keep)
};

// What every scoring and selecting op needs to know of the candidates.
struct Candidates {
  Pool pool = Pool::slots;
  Score score = Score::key_distance;
  KvView kv;
  int32_t layer_begin = 0;  // layers [layer_begin, layer_begin + layer_count); Pool::block: layer_count 1
  int32_t layer_count = 1;
  Rows rows;
  Tensor k;         // Pool::block: [T, Hkv, D] staging keys, KV dtype
  Tensor mass_new;  // Pool::block with score average: [T, Hkv] fp32
  RopeTable rope;
  int32_t head_offset = 0;  // global index of this rank's first KV head
};
BATCHMAX_HOST_DEVICE inline int32_t candidate_count(Pool pool, const Row& row) {
  return pool == Pool::slots ? row.keep : row.resident + row.token_count;
}
// Pool::tail: how many slots lie past row.keep and are either moved or dropped. 0 for padding.
BATCHMAX_HOST_DEVICE inline int32_t tail_surplus(const Row& row) {
  const int32_t surplus = row.resident + row.token_count - row.keep;
  return row.sequence == kNoSequence || surplus < 0 ? 0 : surplus;
}

// Scope layer: the value to be all-reduced over the ranks, summed over this rank's KV heads:
// the mass for `average` (divide by age afterwards), the score itself for the others, one head's for
// `recency` and `random` (head 0's hash), which are the same on all ranks: those need no all-reduce. out
// [layer_count, rows, pitch] fp32, pitch >= candidate_count of each row; entries past the count are left
// alone.
void score_layer(const Stream& stream, const Candidates& candidates, const Tensor& workspace,
                 const Tensor& out);
constexpr bool needs_reduction(Score score) { return score != Score::recency && score != Score::random; }

std::optional<Score> score_from_name(std::string_view name);
const char* name_of(Score score);

}  // namespace batchmax::kernels
