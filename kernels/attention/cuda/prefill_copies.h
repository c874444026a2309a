// The warps of prefill_wgmma.cu that copy: one K and V, tile by tile, three the queries of the next item.
#pragma once

#include <cuda.h>

#include "kernels/attention/cuda/prefill_items.h"

namespace batchmax::kernels::cuda {

// Where whole tiles of 64 keys are copied from.
struct Maps {
  CUtensorMap pool;  // rows: K and V of all pages in turn, one head
  CUtensorMap k;     // staging: tokens
  CUtensorMap v;
};

// One warp. What it computes for a tile stays short: it has to be done before the products have used up the
// last tile.
template <int D>
class KeyCopies {
 public:
  __device__ KeyCopies(const Shared<D>& shared, const Maps& maps) : shared_(shared), maps_(maps) {}

  __device__ void fetch(const PrefillArgs& args, const Item& item) {
    const KvView& kv = args.kv;
    const int32_t pages = item.pages();
    const int32_t* table =
        kv.page_tables + static_cast<int64_t>(args.rows[item.row].sequence) * kv.table_stride;
    const int32_t first_row = (args.layer * kv.pages * kv.kv_heads + item.head) * 2 * kPageSlots;
    const int32_t page_rows = kv.kv_heads * 2 * kPageSlots;
    int32_t page[2] = {pages > 0 ? table[0] : 0, pages > 1 ? table[1] : 0};
    for (int32_t t = 0; t < item.tiles; ++t, ++tile_) {
      Half half[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int32_t index = 2 * t + h;
        const bool resident = index < pages;
        const int32_t key = (resident ? index : index - pages) * kTileKeys;
        half[h].resident = resident;
        half[h].count = min(kTileKeys, (resident ? item.resident : item.token_count) - key);
        half[h].row = resident ? first_row + page[h] * page_rows : item.token_begin + key;
        page[h] = index + 2 < pages ? table[index + 2] : 0;  // read ahead
      }
      const uint32_t stage = tile_ % kStages;
      const uint32_t parity = tile_ / kStages % 2 ^ 1;
      shared_.free(Shared<D>::kK, stage).wait(parity);
      copy<false>(args, item.head, shared_.keys(stage), half, shared_.full(Shared<D>::kK, stage));
      shared_.free(Shared<D>::kV, stage).wait(parity);
      copy<true>(args, item.head, shared_.values(stage), half, shared_.full(Shared<D>::kV, stage));
    }
  }

 private:
  struct Half {
    bool resident;
    int32_t count;  // valid keys; none: <= 0
    int32_t row;    // of K in the pool, V's are 64 further; or of the staging tensors
  };

  // Whole halves by the copy engine, the others by all threads, with zeros behind the valid keys.
  template <bool kValues>
  __device__ void copy(const PrefillArgs& args, int32_t head, uint32_t to, const Half (&half)[2],
                       SharedBarrier full) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int32_t row = half[h].row + (kValues && half[h].resident ? kPageSlots : 0);
      if (half[h].count < kTileKeys) {
        const int64_t stride = half[h].resident ? D : static_cast<int64_t>(args.kv.kv_heads) * D;
        const void* from = half[h].resident ? args.kv.kv : kValues ? args.v : args.k;
        copy_part(static_cast<const bf16*>(from) + row * stride + (half[h].resident ? 0 : head * D), stride,
                  half[h].count, to, h * kTileKeys);
      } else if (threadIdx.x == 0) {
        full.expect(kTileKeys * D * 2);
        const CUtensorMap* map = half[h].resident ? &maps_.pool : kValues ? &maps_.v : &maps_.k;
#pragma unroll
        for (int block = 0; block < D / ProductTile<D>::kColumns; ++block) {
          copy_box(to + ProductTile<D>::at(kKeys, h * kTileKeys, block * ProductTile<D>::kColumns / 8), map,
                   block * ProductTile<D>::kColumns, half[h].resident ? 0 : head, row, full);
        }
      }
    }
    arrive_after_copies(full.address);
  }

  __device__ static void copy_part(const bf16* from, int64_t stride, int32_t count, uint32_t to,
                                   int first_row) {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * D / 8; i += kKeyThreads) {
      const int row = i / (D / 8);
      const int chunk = i % (D / 8);
      const bool valid = row < count;
      copy_async(to + ProductTile<D>::at(kKeys, first_row + row, chunk),
                 from + (valid ? row * stride : 0) + chunk * 8, valid);
    }
  }

  const Shared<D>& shared_;
  const Maps& maps_;
  uint32_t tile_ = 0;  // tiles so far
};

// The threads behind KeyCopies'. Queries and the item itself; the last one has no tiles.
template <int D>
class QueryCopies {
 public:
  __device__ explicit QueryCopies(const Shared<D>& shared) : shared_(shared) {}

  __device__ void fetch(const PrefillArgs& args, const Item& item) {
    announce(item);
    constexpr int kChunks = D / 8;
    constexpr int kPass = kQueryThreads / 2 / kChunks * 2;  // queries at once
    const BlockQueries queries(args.rows[item.row], args.kv.kv_heads, args.group, item.head);
    const int chunk = thread() % kChunks;
    const bf16* from = static_cast<const bf16*>(args.q) + chunk * 8;
    QueryWalk walk(queries, item.first + thread() / kChunks, kPass);
#pragma unroll 1
    for (int row = thread() / kChunks; row < kQueries; row += kPass, walk.next()) {
      copy_async(shared_.queries() + ProductTile<D>::at(kQueries, row, chunk), from + walk.index() * D,
                 item.first + row < item.queries);
    }
    arrive_after_copies(shared_.full(Shared<D>::kQ, 0).address);
  }

  __device__ void end() {
    Item item{};
    announce(item);
    shared_.full(Shared<D>::kQ, 0).arrive();
  }

 private:
  __device__ static int thread() { return static_cast<int>(threadIdx.x) - kKeyThreads; }

  __device__ void announce(const Item& item) {
    shared_.free(Shared<D>::kQ, 0).wait(items_++ % 2 ^ 1);
    if (thread() != 0) return;
    item.store(shared_.item());
    shared_.full(Shared<D>::kQ, 0).arrive();
  }

  const Shared<D>& shared_;
  uint32_t items_ = 0;
};

}  // namespace batchmax::kernels::cuda
