// One warp's part of decode in fp32 arithmetic on CUDA cores, for fp32 on either side: the interface of
// decode_warp_mma.h. Two lanes share a slot's product (half of D each); for the values a lane holds D / 32
// elements of every query's output.
#pragma once

#include "kernels/attention/cuda/decode_pieces.h"
#include "kernels/core/cuda/vec.h"

namespace batchmax::kernels::cuda {

template <int D, typename QueryType, typename KeyType>
class DecodeWarpPlain {
 public:
  using Query = QueryType;
  using Key = KeyType;
  static constexpr int kSharedBytes = kMaxGroup * D * 4;  // the queries

  __device__ DecodeWarpPlain(const Query* queries, int group, const Key* tile, int64_t page_stride,
                             const int32_t* pages, int32_t slots, float scale2, std::byte* shared)
      : tile_(tile),
        page_stride_(page_stride),
        pages_(pages),
        slots_(slots),
        scale2_(scale2),
        group_(group),
        lane_(static_cast<int>(threadIdx.x) % 32),
        first_(static_cast<int>(threadIdx.x) / 32 * kWarpSlots),
        queries_(reinterpret_cast<float*>(shared)) {
    for (int i = static_cast<int>(threadIdx.x); i < group * D; i += kDecodeThreads) {
      queries_[i] = to_float(queries[i]);
    }
    __syncthreads();
  }

  __device__ void begin(int32_t, int32_t, bool) {}

  __device__ void attend(int32_t begin, int32_t end, float* scores, int32_t pitch) {
    reset();
    for (int32_t slot = begin + first_; slot - first_ < end && slot < slots_; slot += kPageSlots) {
      const Key* values = slot_row(slot) + kPageSlots * D;
      const int32_t own = slot + lane_ % kWarpSlots;
#pragma unroll
      for (int g = 0; g < kMaxGroup; ++g) {
        if (g >= group_) break;
        const float s = product(slot, g);
        if (scores != nullptr && lane_ < kWarpSlots && own < slots_) scores[g * pitch + own] = s;
        const float p = weigh(g, own < slots_ ? s : -INFINITY);
        const int32_t count = min(kWarpSlots, slots_ - slot);
        for (int j = 0; j < count; ++j) {
          const float weight = __shfl_sync(~0U, p, j);
#pragma unroll
          for (int e = 0; e < D / 32; ++e) {
            out_[g][e] = __fmaf_rn(weight, to_float(values[j * D + lane_ + 32 * e]), out_[g][e]);
          }
        }
      }
    }
  }

  __device__ void store(float* out, float* stats) {
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      if (g >= group_) break;
#pragma unroll
      for (int e = 0; e < D / 32; ++e) out[g * D + lane_ + 32 * e] = out_[g][e];
      if (lane_ == 0) {
        stats[2 * g] = __fmul_rn(top_[g], scale2_);
        stats[2 * g + 1] = sum_[g];
      }
    }
  }

  template <typename Add>
  __device__ void probabilities(int32_t begin, int32_t end, const float* lse2, Add add) {
    for (int32_t slot = begin + first_; slot - first_ < end && slot < slots_; slot += kPageSlots) {
      float p = 0;
      for (int g = 0; g < group_; ++g) p += exp2_fast(__fmaf_rn(product(slot, g), scale2_, -lse2[g]));
      const int32_t own = slot + lane_ % kWarpSlots;
      if (lane_ < kWarpSlots && own < slots_) add(own, p);
    }
  }

 private:
  __device__ const Key* slot_row(int32_t slot) const {
    return tile_ + pages_[slot / kPageSlots] * page_stride_ + slot % kPageSlots * D;
  }

  // q·k of query g and slot first + lane % 16; both lanes of a slot have the sum.
  __device__ float product(int32_t first, int g) const {
    constexpr int kHalf = D / 2;
    const int half = lane_ / kWarpSlots * kHalf;
    const Key* key = slot_row(first) + lane_ % kWarpSlots * D + half;
    const float* query = queries_ + g * D + half;
    float s = 0;
#pragma unroll 4
    for (int d = 0; d < kHalf; d += kVec<Key>) {
      float k[kVec<Key>];
      to_floats(load_vec(key + d), k);
#pragma unroll
      for (int e = 0; e < kVec<Key>; ++e) s = __fmaf_rn(query[d + e], k[e], s);
    }
    return __fadd_rn(s, __shfl_xor_sync(~0U, s, kWarpSlots));
  }

  // The slot's weight against the query's running top, which grows if need be.
  __device__ float weigh(int g, float s) {
    float top = fmaxf(top_[g], s);
#pragma unroll
    for (int offset = kWarpSlots / 2; offset > 0; offset /= 2)
      top = fmaxf(top, __shfl_xor_sync(~0U, top, offset));
    const float shrink = exp2_fast(__fmul_rn(__fsub_rn(top_[g], top), scale2_));
    const float p = exp2_fast(__fmul_rn(__fsub_rn(s, top), scale2_));
    float sum = p;
#pragma unroll
    for (int offset = kWarpSlots / 2; offset > 0; offset /= 2)
      sum = __fadd_rn(sum, __shfl_xor_sync(~0U, sum, offset));
    top_[g] = top;
    sum_[g] = __fmaf_rn(sum_[g], shrink, sum);
#pragma unroll
    for (int e = 0; e < D / 32; ++e) out_[g][e] = __fmul_rn(out_[g][e], shrink);
    return p;
  }

  __device__ void reset() {
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      top_[g] = -INFINITY;
      sum_[g] = 0;
#pragma unroll
      for (int e = 0; e < D / 32; ++e) out_[g][e] = 0;
    }
  }

  const Key* tile_;
  int64_t page_stride_;
  const int32_t* pages_;
  int32_t slots_;
  float scale2_;
  int group_;
  int lane_;
  int first_;
  float* queries_;
  float top_[kMaxGroup];  // of q·k
  float sum_[kMaxGroup];
  float out_[kMaxGroup][D / 32];
};

}  // namespace batchmax::kernels::cuda
