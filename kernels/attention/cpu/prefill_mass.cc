// Keys stay, queries pass: a thread takes up to 256 keys of one (row, KV head) and goes over the block's
// queries in order, 96 at a time, so each key's sum is formed by one thread in one order. K is read once per
// 96 queries.
#include "kernels/attention/prefill_mass.h"

#include <algorithm>
#include <vector>

#include "kernels/attention/backends.h"
#include "kernels/attention/cpu/attention.h"
#include "kernels/attention/cpu/query_block.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int32_t kItemKeys = 4 * kTileKeys;

struct Item {
  int32_t row;
  int32_t head;
  bool resident;  // slots, or the block's own keys
  int32_t first;  // key
};

void receive(const PrefillMass& args, const Tiles& tiles, const Item& item) {
  const Row& row = args.rows.data[item.row];
  const auto group = static_cast<int32_t>(args.q.dim(1)) / args.kv.kv_heads;
  const int32_t end = std::min(item.first + kItemKeys, item.resident ? row.resident : row.token_count);
  float received[kItemKeys] = {};
  float lse2[kTileQueries];
  QueryBlock block;
  for (int32_t first = 0; first < row.token_count; first += kTileQueries / group) {
    const QuerySpan span{row.token_begin + first, std::min(kTileQueries / group, row.token_count - first),
                         item.head * group, group};
    const int32_t last = first + span.tokens - 1;
    if (!item.resident && last <= item.first) continue;
    load_queries(args.q, span, args.scale, tiles, block);
    for (int32_t i = 0; i < block.count; ++i) {
      const int64_t at = (span.first_token + i / group) * args.lse.dim(1) + span.first_head + i % group;
      lse2[i] = args.lse.as<float>()[at] * kLog2E;
    }
    std::fill_n(block.visible, block.count, kTileKeys);
    for (int32_t key = item.first; key < end; key += kTileKeys) {
      if (item.resident) {
        const KeyTile tile = slot_tile(args.kv, args.layer, row.sequence, item.head, key, row.resident);
        tiles.mass(tile, block, lse2, received + key - item.first);
      } else if (key < last) {
        const int32_t count = std::min(kTileKeys, end - key);
        for (int32_t i = 0; i < block.count; ++i)
          block.visible[i] = first + i / group - key;  // own key left out
        const KeyTile tile = staging_tile(args.k, Tensor(), row.token_begin + key, item.head, count);
        tiles.mass(tile, block, lse2, received + key - item.first);
      }
    }
  }
  for (int32_t key = item.first; key < end; ++key) {
    const float mass = received[key - item.first];
    if (item.resident) {
      const int32_t* pages = args.kv.page_tables + static_cast<int64_t>(row.sequence) * args.kv.table_stride;
      const size_t tile = args.kv.tile_index(args.layer, pages[key / kPageSlots], item.head);
      args.kv.mass[tile * kPageSlots + static_cast<size_t>(key % kPageSlots)] += mass;
    } else {
      args.mass_new.as<float>()[(row.token_begin + key) * args.kv.kv_heads + item.head] = mass;
    }
  }
}

}  // namespace

void prefill_mass(const PrefillMass& args, Isa isa) {
  const Tiles tiles = tiles_for(isa, args.q.dtype(), args.kv.dtype);
  std::vector<Item> items;
  for (int32_t r = 0; r < args.rows.count; ++r) {
    const Row& row = args.rows.data[r];
    for (int32_t head = 0; head < args.kv.kv_heads; ++head) {
      for (int32_t key = 0; key < row.resident; key += kItemKeys) items.push_back({r, head, true, key});
      for (int32_t key = 0; key < row.token_count; key += kItemKeys) items.push_back({r, head, false, key});
    }
  }
#pragma omp parallel for schedule(dynamic) if (items.size() > 1)
  for (size_t i = 0; i < items.size(); ++i) receive(args, tiles, items[i]);
}

void prefill_mass(const PrefillMass& args) { prefill_mass(args, best_isa()); }

}  // namespace batchmax::kernels::cpu
