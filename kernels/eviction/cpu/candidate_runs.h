// The candidates of one (layer, row, KV head) as runs of keys, positions and masses with a constant stride:
// the slots of a page each, then the block's tokens in staging. Candidate indices count on over the runs.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/eviction/score.h"

namespace batchmax::kernels::cpu {

struct Run {
  int32_t count;             // 1..64
  const std::byte* keys;     // key i at keys + i * key_stride; null where the pool brings no keys
  size_t key_stride;         // bytes
  const int32_t* positions;  // null: first_position + i
  int32_t first_position;
  const float* mass;  // mass i at mass[i * mass_stride]; null where the pool brings none
  size_t mass_stride;

  int32_t position(int32_t i) const { return positions != nullptr ? positions[i] : first_position + i; }
};

// Calls visit(first candidate index, run) in candidate order.
template <typename Visit>
void for_each_run(const Candidates& candidates, int32_t layer, const Row& row, int32_t head, Visit visit) {
  const KvView& kv = candidates.kv;
  const size_t element = size_of(kv.dtype);
  const size_t head_dim = static_cast<size_t>(kv.head_dim);
  const int32_t slots = candidates.pool == Pool::block ? row.resident : candidate_count(candidates.pool, row);
  for (int32_t first = 0; first < slots; first += kPageSlots) {
    const int32_t page =
        kv.page_tables[static_cast<size_t>(row.sequence) * static_cast<size_t>(kv.table_stride) +
                       static_cast<size_t>(first / kPageSlots)];
    const size_t tile = kv.tile_index(layer, page, head);
    const auto* keys = static_cast<const std::byte*>(kv.kv) + tile * kv.tile_elements() * element;
    visit(first, Run{std::min<int32_t>(kPageSlots, slots - first), keys, head_dim * element,
                     kv.pos + tile * kPageSlots, 0, kv.mass + tile * kPageSlots, 1});
  }
  if (candidates.pool != Pool::block) return;
  const size_t heads = static_cast<size_t>(kv.kv_heads);
  for (int32_t first = 0; first < row.token_count; first += kPageSlots) {
    const size_t at = static_cast<size_t>(row.token_begin + first) * heads + static_cast<size_t>(head);
    const auto* keys =
        candidates.k ? static_cast<const std::byte*>(candidates.k.data()) + at * head_dim * element : nullptr;
    const float* mass = candidates.mass_new ? candidates.mass_new.as<float>() + at : nullptr;
    visit(slots + first, Run{std::min<int32_t>(kPageSlots, row.token_count - first), keys,
                             heads * head_dim * element, nullptr, row.position + first, mass, heads});
  }
}

}  // namespace batchmax::kernels::cpu
