// The candidates of one (layer, row, KV head) as a thread block sees them: candidate i < slots() lies in slot
// i of the cache, the others are the block's tokens in staging.
#pragma once

#include "kernels/core/cuda/vec.h"
#include "kernels/eviction/score.h"

namespace batchmax::kernels::cuda {

// One block works on a (layer, row, KV head). Its size is part of the order in which keys are summed.
inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;

// Candidates without their host side.
struct CandidateArgs {
  Pool pool;
  Score score;
  KvView kv;
  int32_t layer_begin;
  const Row* rows;
  const void* k;          // nullptr where the pool or the score brings none
  const float* mass_new;  // as above
  RopeTable rope;
  int32_t head_offset;

  explicit CandidateArgs(const Candidates& from)
      : pool(from.pool),
        score(from.score),
        kv(from.kv),
        layer_begin(from.layer_begin),
        rows(from.rows.data),
        k(from.k.data()),
        mass_new(from.mass_new ? from.mass_new.as<float>() : nullptr),
        rope(from.rope),
        head_offset(from.head_offset) {}
};

class HeadCandidates {
 public:
  __device__ HeadCandidates(const CandidateArgs& args, int32_t layer, const Row& row, int32_t head)
      : pages_(args.kv.page_tables + static_cast<int64_t>(row.sequence) * args.kv.table_stride),
        tile_(args.kv.tile_index(layer, 0, head)),
        heads_(args.kv.kv_heads),
        kv_(args.kv.kv),
        pos_(args.kv.pos),
        mass_(args.kv.mass),
        staged_(static_cast<int64_t>(row.token_begin) * heads_ + head),
        k_(args.k),
        mass_new_(args.mass_new),
        count_(candidate_count(args.pool, row)),
        slots_(args.pool == Pool::block ? row.resident : count_),
        first_position_(row.position) {}

  __device__ int32_t count() const { return count_; }
  __device__ int32_t slots() const { return slots_; }
  __device__ int32_t position(int32_t i) const {
    return i < slots_ ? pos_[state(i)] : first_position_ + i - slots_;
  }
  __device__ float mass(int32_t i) const {
    return i < slots_ ? mass_[state(i)] : mass_new_[staged_ + static_cast<int64_t>(i - slots_) * heads_];
  }

  // In two steps, so that a thread may have several of either under way: loads without branches.
  struct Page {
    int32_t id;
  };
  __device__ Page page(int32_t i) const { return {pages_[max(min(i, slots_ - 1), 0) / kPageSlots]}; }
  __device__ int32_t position(int32_t i, Page page) const {
    int32_t position = first_position_ + i - slots_;
    if (i < slots_) position = pos_[tile(page) * kPageSlots + i % kPageSlots];
    return position;
  }
  template <typename T, int D>
  __device__ const T* key(int32_t i, Page page) const {
    const T* stored = static_cast<const T*>(kv_) + (tile(page) * 2 * kPageSlots + i % kPageSlots) * D;
    const T* staged = static_cast<const T*>(k_) + (staged_ + static_cast<int64_t>(i - slots_) * heads_) * D;
    return i < slots_ ? stored : staged;
  }

 private:
  __device__ int64_t tile(Page page) const {
    return static_cast<int64_t>(tile_) + static_cast<int64_t>(page.id) * heads_;
  }
  __device__ int64_t state(int32_t slot) const { return tile(page(slot)) * kPageSlots + slot % kPageSlots; }

  const int32_t* pages_;
  size_t tile_;  // of the head, in page 0
  int32_t heads_;
  const void* kv_;
  const int32_t* pos_;
  const float* mass_;
  int64_t staged_;  // index of (first token, head) in [T, Hkv]
  const void* k_;
  const float* mass_new_;
  int32_t count_;
  int32_t slots_;
  int32_t first_position_;
};

// First entry of a row in the packed `dest` of Pool::tail. Whole warps.
__device__ inline int32_t tail_entry(const Row* rows, int32_t row) {
  int32_t entries = 0;
  for (int32_t r = static_cast<int32_t>(threadIdx.x) % 32; r < row; r += 32) entries += tail_surplus(rows[r]);
  return __reduce_add_sync(0xffffffffU, entries);
}

}  // namespace batchmax::kernels::cuda
