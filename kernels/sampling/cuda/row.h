// One row of logits as a block of threads sees it: candidates as ordered keys, weights as integers, sums over
// the block.
//
// A candidate is one 64-bit key: the logit's bits, mapped so that their order is the logits', above the
// complement of its id. The keys of a row are all different and their order is the contract's: highest logit
// first, equal logits by the lower id. Key 0 is no candidate (NaN, −inf). Weights are summed as integers in
// units of 2^−44: 2^18 weights of at most 1 stay below 2^63, and no sum depends on the order of its terms, so
// every launch and every rank draws the same id.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/cuda/vec.h"

namespace batchmax::kernels::cuda {

inline constexpr int kSampleThreads = 1024;
inline constexpr int kSampleWarps = kSampleThreads / 32;
inline constexpr int kIdBits = 18;
inline constexpr int kMostIds = 1 << kIdBits;
inline constexpr uint64_t kIdMask = kMostIds - 1;

__device__ inline uint64_t key_of(float logit, int id) {
  if (!(logit > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(logit + 0.0F);  // −0 becomes +0: they are equal logits
  const uint32_t ordered = bits ^ (bits >> 31 != 0 ? 0xffffffffU : 0x80000000U);
  return static_cast<uint64_t>(ordered) << kIdBits | (kIdMask - static_cast<uint64_t>(id));
}
__device__ inline float logit_of(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> kIdBits);
  return __uint_as_float(ordered ^ (ordered >> 31 != 0 ? 0x80000000U : 0xffffffffU));
}
__device__ inline int id_of(uint64_t key) { return static_cast<int>(kIdMask - (key & kIdMask)); }

// e^((logit − highest) / temperature); 1 for the highest even where it is +inf.
struct Weights {
  float highest;
  float
      scale;  // log2(e) / temperature, its rounding error beside it: that would bias all weights the same way
  float scale_error;

  __device__ Weights(float highest_logit, float temperature) : highest(highest_logit) {
    const double exact = 1.4426950408889634 / static_cast<double>(temperature);
    scale = static_cast<float>(exact);
    scale_error = isinf(scale) ? 0.0F : static_cast<float>(exact - static_cast<double>(scale));
  }
  __device__ float of(float logit) const {
    if (logit == highest) return 1.0F;
    const float below = logit - highest;
    const float weight = exp2f(fmaf(below, scale_error, below * scale));
    return weight > 0 ? weight : 0.0F;  // NaN where the highest is +inf
  }
};
__device__ inline uint64_t units(float weight) { return __float2ull_rn(weight * 0x1p44F); }

struct Sum {
  __device__ static uint64_t of(uint64_t a, uint64_t b) { return a + b; }
};
struct Most {
  __device__ static uint64_t of(uint64_t a, uint64_t b) { return a > b ? a : b; }
};
template <typename Op>
__device__ inline uint64_t over_warp(uint64_t value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value = Op::of(value, __shfl_xor_sync(0xffffffffU, value, offset));
  return value;
}
// Over the block; every thread gets the result. `partial` is free again at the next barrier.
template <typename Op>
__device__ inline uint64_t over_block(uint64_t value, uint64_t (&partial)[kSampleWarps]) {
  value = over_warp<Op>(value);
  __syncthreads();  // a previous result may still be read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  return over_warp<Op>(partial[threadIdx.x % 32]);
}

struct LogitRow {
  const float* logits;
  int count;

  // Four neighbours, −inf beyond the end. i is a multiple of four.
  __device__ void load(int i, float (&to)[4]) const {
    if (count % 4 == 0) {
      load_floats<4>(logits + i, to);
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) to[j] = i + j < count ? logits[i + j] : -INFINITY;
  }
  // visit(logit, id) for the thread's share of the row.
  template <typename Visit>
  __device__ void each(Visit visit) const {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) * 4; i < count; i += kSampleThreads * 4) {
      float logit[4];
      load(i, logit);
#pragma unroll
      for (int j = 0; j < 4; ++j) visit(logit[j], i + j);
    }
  }
};

}  // namespace batchmax::kernels::cuda
