// One warp's part of decode with tensor cores: bf16 queries of one GQA group against bf16 keys. The group's
// queries are the first 8 of 16 rows of a matrix product (the other 8 are zero: the tensor cores have nothing
// else to do); 16 slots of each page belong to the warp. The slots travel through a ring of the warp's own in
// shared memory, so warps wait for memory only, never for each other; a slot's K and V are read once.
#pragma once

#include "kernels/attention/cuda/decode_pieces.h"
#include "kernels/core/cuda/vec.h"

namespace batchmax::kernels::cuda {

template <int D>
class DecodeWarpMma {
 public:
  using Query = bf16;
  using Key = bf16;
  static constexpr int kStages = 2;
  static constexpr int kStageBytes = 2 * kWarpSlots * D * 2;
  static constexpr int kSharedBytes = kDecodeWarps * kStages * kStageBytes;

  // `queries`: [group][D]. `tile`: K and V of the head in page 0 of the layer, `page_stride` elements from
  // page to page. `shared`: kSharedBytes for all warps of the block.
  __device__ DecodeWarpMma(const bf16* queries, int group, const bf16* tile, int64_t page_stride,
                           const int32_t* pages, int32_t slots, float scale2, std::byte* shared)
      : tile_(tile),
        page_stride_(page_stride),
        pages_(pages),
        slots_(slots),
        scale2_(scale2),
        group_(group),
        lane_(static_cast<int>(threadIdx.x) % 32),
        first_(static_cast<int>(threadIdx.x) / 32 * kWarpSlots),
        ring_(shared_address(shared) + (threadIdx.x / 32) * (kStages * kStageBytes)) {
    const bf16* query = queries + lane_ / 4 * D + lane_ % 4 * 2;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const bool real = lane_ / 4 < group;
      q_[step][0] = real ? *reinterpret_cast<const uint32_t*>(query + 16 * step) : 0;
      q_[step][1] = real ? *reinterpret_cast<const uint32_t*>(query + 16 * step + 8) : 0;
    }
  }

  // The slots [begin, end), of which `begin` starts a page, will be attended to, in order. Without `values` K
  // alone.
  __device__ void begin(int32_t begin, int32_t end, bool values) {
    next_ = begin;
    end_ = end;
    values_ = values;
    stage_ = 0;
    page_ = next_ < end_ ? pages_[next_ / kPageSlots] : 0;
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) fetch(s);
  }

  // Attends to the slots [begin, end). With `scores` [group][pitch], indexed by slot: leaves q·k there.
  __device__ void attend(int32_t begin, int32_t end, float* scores, int32_t pitch) {
    reset();
    for (int32_t slot = begin + first_; slot - first_ < end; slot += kPageSlots) {
      const uint32_t at = next_stage();
      if (slot >= slots_) continue;
      float s[2][4];
      products(at, s);
      if (scores != nullptr && lane_ / 4 < group_) {
        float* to = scores + lane_ / 4 * pitch + slot + lane_ % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(s[0][0], s[0][1]);
        *reinterpret_cast<float2*>(to + 8) = make_float2(s[1][0], s[1][1]);
      }
      weigh(slot, s);
      const uint32_t p[4] = {pack_bf16(s[0][0], s[0][1]), 0, pack_bf16(s[1][0], s[1][1]), 0};
      const SwizzledTile<D> v(at + kStageBytes / 2);
#pragma unroll
      for (int step = 0; step < D / 16; ++step) {
        uint32_t b[4];
        v.load_b_rows(b, 0, step, lane_);
        mma(out_[2 * step], p, b[0], b[1]);
        mma(out_[2 * step + 1], p, b[2], b[3]);
      }
    }
  }

  // What attend() has summed: out [group][D], stats [group][2] = top in log2, sum.
  __device__ void store(float* out, float* stats) {
    sum_ = __fadd_rn(sum_, __shfl_xor_sync(~0U, sum_, 1));
    sum_ = __fadd_rn(sum_, __shfl_xor_sync(~0U, sum_, 2));
    const int query = lane_ / 4;
    if (query >= group_) return;
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
      *reinterpret_cast<float2*>(out + query * D + 8 * i + lane_ % 4 * 2) =
          make_float2(out_[i][0], out_[i][1]);
    }
    if (lane_ % 4 == 0) {
      stats[2 * query] = __fmul_rn(top_, scale2_);
      stats[2 * query + 1] = sum_;
    }
  }

  // Calls add(slot, Σ_g 2^(q·k · scale − lse2[g])) for the warp's slots of [begin, end), one lane for each
  // slot.
  template <typename Add>
  __device__ void probabilities(int32_t begin, int32_t end, const float* lse2, Add add) {
    for (int32_t slot = begin + first_; slot - first_ < end; slot += kPageSlots) {
      const uint32_t at = next_stage();
      if (slot >= slots_) continue;
      float s[2][4];
      products(at, s);
      const bool real = lane_ / 4 < group_;
      const float lse = real ? lse2[lane_ / 4] : 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float p = real ? exp2_fast(__fmaf_rn(s[i / 2][i % 2], scale2_, -lse)) : 0;
        p += __shfl_xor_sync(~0U, p, 4);
        p += __shfl_xor_sync(~0U, p, 8);
        p += __shfl_xor_sync(~0U, p, 16);
        const int32_t own = slot + i / 2 * 8 + lane_ % 4 * 2 + i % 2;
        if (lane_ < 4 && own < slots_) add(own, p);
      }
    }
  }

 private:
  // Starts to fetch the warp's 16 slots of the next page. Slots past the row's last become zeros: they may
  // hold NaN.
  __device__ void fetch(int stage) {
    if (next_ < end_) {
      constexpr int kChunks = D / 8;
      const bf16* from = tile_ + page_ * page_stride_ + first_ * D;
      const uint32_t base = ring_ + static_cast<uint32_t>(stage * kStageBytes);
      const int32_t valid = slots_ - next_ - first_;
#pragma unroll
      for (int i = 0; i < kWarpSlots * kChunks / 32; ++i) {
        const int index = lane_ + 32 * i;
        const int row = index / kChunks;
        const uint32_t to = SwizzledTile<D>(base).at(row, index % kChunks);
        copy_async(to, from + index * 8, row < valid);
        if (values_) copy_async(to + kStageBytes / 2, from + kPageSlots * D + index * 8, row < valid);
      }
      next_ += kPageSlots;
      if (next_ < end_) page_ = pages_[next_ / kPageSlots];
    }
    commit_copies();
  }

  // Waits for the oldest stage and refills the one that was used last.
  __device__ uint32_t next_stage() {
    __syncwarp();  // all lanes have read what is overwritten now
    fetch((stage_ + kStages - 1) % kStages);
    wait_for_copies<kStages - 1>();
    __syncwarp();  // what other lanes copied is there as well
    const uint32_t at = ring_ + static_cast<uint32_t>(stage_ * kStageBytes);
    stage_ = (stage_ + 1) % kStages;
    return at;
  }

  // s[i][0], s[i][1]: query lane / 4 · slots 8·i + 2·(lane % 4) and the next.
  __device__ void products(uint32_t stage, float (&s)[2][4]) const {
    const SwizzledTile<D> k(stage);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] = 0;
    }
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t b[4];
      k.load_b(b, 0, step, lane_);
      const uint32_t a[4] = {q_[step][0], 0, q_[step][1], 0};
      mma(s[0], a, b[0], b[1]);
      mma(s[1], a, b[2], b[3]);
    }
  }

  // Turns products into 2^(product · scale − top), with a new top if need be. `slot` is the first of 16, one
  // is valid.
  __device__ void weigh(int32_t slot, float (&s)[2][4]) {
    float top = top_;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (slot + i / 2 * 8 + lane_ % 4 * 2 + i % 2 >= slots_) s[i / 2][i % 2] = -INFINITY;
      top = fmaxf(top, s[i / 2][i % 2]);
    }
    top = fmaxf(top, __shfl_xor_sync(~0U, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0U, top, 2));
    if (__any_sync(~0U, top > top_)) {
      const float shrink = exp2_fast(__fmul_rn(__fsub_rn(top_, top), scale2_));
      sum_ = __fmul_rn(sum_, shrink);
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
        out_[i][0] = __fmul_rn(out_[i][0], shrink);
        out_[i][1] = __fmul_rn(out_[i][1], shrink);
      }
      top_ = top;
    }
    const float offset = __fmul_rn(top_, scale2_);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& p = s[i / 2][i % 2];
      p = exp2_fast(__fmaf_rn(p, scale2_, -offset));
      sum_ = __fadd_rn(sum_, p);
    }
  }

  __device__ void reset() {
    top_ = -INFINITY;
    sum_ = 0;
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out_[i][j] = 0;
    }
  }

  const bf16* tile_;
  int64_t page_stride_;
  const int32_t* pages_;
  int32_t slots_;
  float scale2_;
  int group_;
  int lane_;
  int first_;  // of the warp's slots in each page
  uint32_t ring_;

  int32_t next_ = 0;  // to fetch
  int32_t end_ = 0;
  int32_t page_ = 0;
  int stage_ = 0;  // to use
  bool values_ = true;

  uint32_t q_[D / 16][2];
  float out_[D / 8][4];  // [.][0..1] are query lane / 4; the rest stays zero
  float top_ = 0;        // of q·k
  float sum_ = 0;        // of this lane's slots
};

}  // namespace batchmax::kernels::cuda
