// The keys that a prefill block sees, in tiles of up to 64: first its sequence's resident slots, page by
// page, then the block's own tokens in the staging buffers. And which queries a thread block holds of it.
#pragma once

#include "kernels/attention/cuda/mma.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/core/kv_view.h"

namespace batchmax::kernels::cuda {

inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2 = 0.693147181F;
inline constexpr int kTileKeys = kPageSlots;

template <typename T>
struct KeyTile {
  const T* k;
  const T* v;      // of the same stride; nullptr where only keys are read
  int64_t stride;  // elements from key to key
  int32_t count;   // valid keys; what follows may hold anything
  int32_t first;   // of the block's tokens; -1: resident slots, which every query sees
};

template <typename T>
class PrefillKeys {
 public:
  // k, v: staging [T, Hkv, D].
  __device__ PrefillKeys(const KvView& kv, int32_t layer, const Row& row, int32_t head, const T* k,
                         const T* v)
      : pages_(kv.page_tables + static_cast<int64_t>(row.sequence) * kv.table_stride),
        tile_(static_cast<const T*>(kv.kv) + kv.tile_index(layer, 0, head) * kv.tile_elements()),
        page_stride_(static_cast<int64_t>(kv.kv_heads) * static_cast<int64_t>(kv.tile_elements())),
        head_dim_(kv.head_dim),
        stride_(static_cast<int64_t>(kv.kv_heads) * kv.head_dim),
        resident_(row.resident),
        tokens_(row.token_count) {
    const int64_t first = row.token_begin * stride_ + static_cast<int64_t>(head) * kv.head_dim;
    k_ = k + first;
    v_ = v == nullptr ? nullptr : v + first;
  }

  __device__ int32_t resident_tiles() const { return (resident_ + kTileKeys - 1) / kTileKeys; }
  // Up to the key of token `last` of the block.
  __device__ int32_t tiles(int32_t last) const { return resident_tiles() + last / kTileKeys + 1; }

  // Of a resident tile; 0 for the others. To be read ahead, for at() needs it.
  __device__ int32_t page(int32_t tile) const { return tile < resident_tiles() ? pages_[tile] : 0; }

  __device__ KeyTile<T> at(int32_t tile) const { return at(tile, page(tile)); }
  __device__ KeyTile<T> at(int32_t tile, int32_t page) const {
    if (tile < resident_tiles()) {
      const T* k = tile_ + page * page_stride_;
      return {k, k + kPageSlots * head_dim_, head_dim_, min(kTileKeys, resident_ - tile * kTileKeys), -1};
    }
    const int32_t first = (tile - resident_tiles()) * kTileKeys;
    return {k_ + first * stride_, v_ == nullptr ? nullptr : v_ + first * stride_, stride_,
            min(kTileKeys, tokens_ - first), first};
  }

 private:
  const int32_t* pages_;
  const T* tile_;  // of the head, in page 0
  int64_t page_stride_;
  int32_t head_dim_;
  int64_t stride_;
  int32_t resident_;
  int32_t tokens_;
  const T* k_;
  const T* v_;
};

// 128 threads copy kRows rows to a tile in shared memory, asynchronously; rows from `count` on become zeros.
// `at`(row, chunk) is the address of 16 bytes of the tile; it grows by 8 · row_bytes from a row to the eighth
// after it.
template <int D, int kRows, typename At>
__device__ void copy_rows(const bf16* from, int64_t stride, int32_t count, int row_bytes, At at) {
  constexpr int kChunks = D / 8;
  constexpr int kPass =
      128 / kChunks / 8 * 8;  // rows at once: addresses are sums of constants, 32 threads idle at D 96
  const int row = static_cast<int>(threadIdx.x) % 128 / kChunks;
  const int chunk = static_cast<int>(threadIdx.x) % 128 % kChunks;
  if (row >= kPass) return;
  const uint32_t to = at(row, chunk);
  const bf16* source = from + row * stride + chunk * 8;
#pragma unroll
  for (int i = 0; i < kRows; i += kPass, source += kPass * stride) {
    const bool valid = row + i < count;
    copy_async(to + static_cast<uint32_t>(i * row_bytes), source, valid);
  }
}

// The queries of a block that share a KV head, numbered: query i is token i / group, query head first_head +
// i % group.
struct BlockQueries {
  int32_t count;
  int32_t group;
  int64_t token_begin;
  int64_t heads;  // Hq
  int32_t first_head;

  __device__ BlockQueries(const Row& row, int32_t kv_heads, int32_t group_size, int32_t kv_head)
      : count(row.token_count * group_size),
        group(group_size),
        token_begin(row.token_begin),
        heads(static_cast<int64_t>(kv_heads) * group_size),
        first_head(kv_head * group_size) {}
  // Index of the query in [T, Hq].
  __device__ int64_t index(int32_t query) const {
    return (token_begin + query / group) * heads + first_head + query % group;
  }
};

// Queries first, first + step, … of a block, without a division for each.
class QueryWalk {
 public:
  __device__ QueryWalk(const BlockQueries& queries, int32_t first, int32_t step)
      : group_(queries.group),
        heads_(queries.heads),
        tokens_(step / group_),
        rest_(step % group_),
        token_(queries.token_begin + first / group_),
        head_(first % group_),
        first_head_(queries.first_head) {}
  // In [T, Hq].
  __device__ int64_t index() const { return token_ * heads_ + first_head_ + head_; }
  __device__ void next() {
    token_ += tokens_;
    head_ += rest_;
    if (head_ >= group_) {
      head_ -= group_;
      ++token_;
    }
  }

 private:
  int32_t group_;
  int64_t heads_;
  int32_t tokens_;
  int32_t rest_;
  int64_t token_;
  int32_t head_;
  int32_t first_head_;
};

}  // namespace batchmax::kernels::cuda
