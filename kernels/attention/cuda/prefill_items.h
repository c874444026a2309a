// What the warps of prefill_wgmma.cu share: the items that they work off, and the shared memory through which
// copies reach the products.
#pragma once

#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/attention/cuda/wgmma.h"

namespace batchmax::kernels::cuda {

inline constexpr int kGroupThreads = 128;
inline constexpr int kConsumers = 2;  // warpgroups that multiply
inline constexpr int kGroupQueries = 64;
inline constexpr int kQueries = kConsumers * kGroupQueries;
inline constexpr int kKeys =
    2 * kTileKeys;  // of a tile of this kernel: two halves, each a tile of PrefillKeys
inline constexpr int kStages = 3;
// One warp copies keys and values, the other three of its warpgroup queries.
inline constexpr int kKeyThreads = 32;
inline constexpr int kQueryThreads = kGroupThreads - kKeyThreads;

// 128 queries of a (row, KV head).
struct Item {
  int32_t head;
  int32_t first;    // query
  int32_t queries;  // of the (row, head)
  int32_t tiles;    // that the item sees, at least 1
  int32_t resident;
  int32_t token_begin;
  int32_t token_count;
  int32_t row;

  // Items are numbered query block first, so that the blocks of a head meet in the L2 cache. False: the row
  // has no such block.
  __device__ bool find(const PrefillArgs& args, int32_t index, int32_t query_blocks) {
    row = index / query_blocks / args.kv.kv_heads;
    head = index / query_blocks % args.kv.kv_heads;
    first = index % query_blocks * kQueries;
    const Row& of = args.rows[row];
    resident = of.resident;
    token_begin = of.token_begin;
    token_count = of.token_count;
    queries = token_count * args.group;
    if (first >= queries) return false;
    const int32_t last_token = (min(first + kQueries, queries) - 1) / args.group;
    tiles = (pages() + last_token / kTileKeys + 2) / 2;
    return true;
  }
  __device__ int32_t pages() const { return (resident + kTileKeys - 1) / kTileKeys; }

  __device__ void store(uint32_t to) const {
    store_shared(to, {head, first, queries, tiles});
    store_shared(to + 16, {resident, token_begin, token_count, row});
  }
  __device__ void load(uint32_t from) {
    const int4 a = load_shared(from);
    const int4 b = load_shared(from + 16);
    head = a.x, first = a.y, queries = a.z, tiles = a.w;
    resident = b.x, token_begin = b.y, token_count = b.z, row = b.w;
  }
};

// All items of a thread block in turn, the same for each of its warps. Neighbours swap places every other
// round, so that each block gets first and last query blocks alike; the last ones see more keys.
template <typename Work>
__device__ void for_each_item(const PrefillArgs& args, int32_t items, int32_t query_blocks, Work work) {
  const auto blocks = static_cast<int32_t>(gridDim.x);
  const auto block = static_cast<int32_t>(blockIdx.x);
  Item item;
  for (int32_t round = 0; round * blocks < items; ++round) {
    const int32_t index = round * blocks + (round % 2 == 0 ? block : block ^ 1);
    if (index < items && item.find(args, index, query_blocks)) work(item);
  }
}

template <int D>
struct Shared {
  static constexpr uint32_t kQueryBytes = kQueries * D * 2;
  static constexpr uint32_t kTileBytes = kKeys * D * 2;
  static constexpr uint32_t kFront = 1024;  // barriers and the item
  static constexpr uint32_t kBytes = kFront + kQueryBytes + 2 * kStages * kTileBytes + 1024;

  uint32_t base;  // 1024-byte aligned

  __device__ explicit Shared(const void* memory) : base((shared_address(memory) + 1023) & ~1023U) {}
  __device__ uint32_t item() const { return base + kFront / 2; }  // the one that the queries belong to
  __device__ uint32_t queries() const { return base + kFront; }
  __device__ uint32_t keys(uint32_t stage) const { return queries() + kQueryBytes + 2 * stage * kTileBytes; }
  __device__ uint32_t values(uint32_t stage) const { return keys(stage) + kTileBytes; }

  // Three kinds of memory, kStages buffers of K and V and one of queries: full (all copying threads arrive),
  // free (of K and V each warp of the consumers arrives, of queries each thread).
  enum Kind { kQ, kK, kV };
  __device__ SharedBarrier full(Kind kind, uint32_t buffer) const {
    return {base + 16 * (kStages * kind + buffer)};
  }
  __device__ SharedBarrier free(Kind kind, uint32_t buffer) const {
    return {base + 16 * (kStages * kind + buffer) + 8};
  }
  // One thread, before all others use them.
  __device__ void init_barriers() const {
    full(kQ, 0).init(kQueryThreads + 1);  // and the thread that writes the item
    free(kQ, 0).init(kConsumers * kGroupThreads);
    for (const Kind kind : {kK, kV}) {
      for (uint32_t buffer = 0; buffer < kStages; ++buffer) {
        full(kind, buffer).init(kKeyThreads);
        free(kind, buffer).init(kConsumers * 4);
      }
    }
  }
};

}  // namespace batchmax::kernels::cuda
