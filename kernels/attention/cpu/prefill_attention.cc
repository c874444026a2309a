// A thread takes some of a row's tokens with all query heads of one KV head (up to 96 queries) and goes over
// the keys they see, tile by tile, with a running maximum: first the resident slots, then the block up to the
// diagonal. Every thread copies the K and V tiles it meets into its own panels; with 96 queries that is 3 %
// of its work (about 9 % with AMX).
#include "kernels/attention/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/backends.h"
#include "kernels/attention/cpu/attention.h"
#include "kernels/attention/cpu/query_block.h"

namespace batchmax::kernels::cpu {
namespace {

struct Item {
  int32_t row;
  int32_t head;
  int32_t first;  // token within the block
};

void attend_block(const PrefillAttention& args, const Tiles& tiles, const Item& item) {
  const Row& row = args.rows.data[item.row];
  const auto group = static_cast<int32_t>(args.q.dim(1)) / args.kv.kv_heads;
  const QuerySpan span{row.token_begin + item.first,
                       std::min(kTileQueries / group, row.token_count - item.first), item.head * group,
                       group};
  QueryBlock block;
  load_queries(args.q, span, args.scale, tiles, block);
  tiles.begin(block);

  std::fill_n(block.visible, block.count, kTileKeys);
  for (int32_t slot = 0; slot < row.resident; slot += kTileKeys) {
    KeyTile tile = slot_tile(args.kv, args.layer, row.sequence, item.head, slot, row.resident);
    tile.page = false;  // few queries too go through a panel: their sums have another order in place
    tiles.attend(tile, block, nullptr, 0);
  }
  const int32_t seen = item.first + span.tokens;  // by the last of the span's queries
  for (int32_t key = 0; key < seen; key += kTileKeys) {
    for (int32_t i = 0; i < block.count; ++i) block.visible[i] = item.first + i / group - key + 1;
    const int32_t count = std::min(kTileKeys, seen - key);
    tiles.attend(staging_tile(args.k, args.v, row.token_begin + key, item.head, count), block, nullptr, 0);
  }

  tiles.finish(block);
  store_out(block, span, args.out);
  for (int32_t i = 0; i < block.count; ++i) {
    const int64_t at = (span.first_token + i / group) * args.lse.dim(1) + span.first_head + i % group;
    args.lse.as<float>()[at] = (block.top[i] + std::log2(block.sums[i * 16])) * kLn2;
  }
}

}  // namespace

void prefill_attention(const PrefillAttention& args, Isa isa) {
  const Tiles tiles = tiles_for(isa, args.q.dtype(), args.kv.dtype);
  const auto group = static_cast<int32_t>(args.q.dim(1)) / args.kv.kv_heads;
  std::vector<Item> items;
  for (int32_t r = 0; r < args.rows.count; ++r) {
    for (int32_t head = 0; head < args.kv.kv_heads; ++head) {
      for (int32_t first = 0; first < args.rows.data[r].token_count; first += kTileQueries / group) {
        items.push_back({r, head, first});
      }
    }
  }
#pragma omp parallel for schedule(dynamic) if (items.size() > 1)
  for (size_t i = 0; i < items.size(); ++i) attend_block(args, tiles, items[i]);
}

void prefill_attention(const PrefillAttention& args) { prefill_attention(args, best_isa()); }

}  // namespace batchmax::kernels::cpu
