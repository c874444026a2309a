// Exact selection among 32-bit words by one thread block: histograms of 8 bits at a time, from the highest
// bit in which the words differ, until the words that share the digits so far are taken as a whole. Scores of
// one head mostly share sign and exponent: without skipping what all share, the first passes would queue up
// at one counter and tell nothing.
#pragma once

#include "kernels/eviction/cuda/candidates.h"

namespace batchmax::kernels::cuda {

inline constexpr uint32_t kNone = UINT32_MAX;  // a word that does not take part

struct RadixShared {
  int32_t histogram[256];
  uint32_t lowest;
  uint32_t highest;
  int32_t bin;
  int32_t before;  // words in bins before it
  int32_t warp_counts[kWarps];
};

// What holds the rank-th lowest word. All words below `last` are among the rank lowest, and `taken` of the
// `equal` words that equal it; where taken == equal, all words up to `last` are, and no others.
struct RadixCut {
  uint32_t last;
  int32_t taken;
  int32_t equal;
};

// Widest range of the words, in shared.lowest and .highest.
template <typename Word>
__device__ void find_range(int32_t count, Word word, RadixShared& shared) {
  if (threadIdx.x == 0) {
    shared.lowest = kNone;
    shared.highest = 0;
  }
  __syncthreads();
  uint32_t lowest = kNone;
  uint32_t highest = 0;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    const uint32_t value = word(i);
    if (value == kNone) continue;
    lowest = min(lowest, value);
    highest = max(highest, value);
  }
  lowest = __reduce_min_sync(0xffffffffU, lowest);
  highest = __reduce_max_sync(0xffffffffU, highest);
  if (threadIdx.x % 32 == 0) {
    atomicMin(&shared.lowest, lowest);
    atomicMax(&shared.highest, highest);
  }
  __syncthreads();
}

// By warp 0: the bin that holds the rank-th word counted. Traps where there are fewer.
__device__ inline void find_bin(int32_t rank, RadixShared& shared) {
  constexpr int kEach = 256 / 32;
  const int lane = static_cast<int>(threadIdx.x);
  int32_t own = 0;
  for (int j = 0; j < kEach; ++j) own += shared.histogram[lane * kEach + j];
  int32_t upto = own;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int32_t left = __shfl_up_sync(0xffffffffU, upto, offset);
    if (lane >= offset) upto += left;
  }
  device_check(rank <= __shfl_sync(0xffffffffU, upto, 31));
  int32_t before = upto - own;
  if (rank <= before || rank > upto) return;
  int bin = lane * kEach;
  while (before + shared.histogram[bin] < rank) before += shared.histogram[bin++];
  shared.bin = bin;
  shared.before = before;
}

// word(i): word of candidate i; rank from 1. The same result in every thread.
template <typename Word>
__device__ RadixCut radix_cut(int32_t count, Word word, int32_t rank, RadixShared& shared) {
  find_range(count, word, shared);
  const uint32_t lowest = shared.lowest;
  device_check(lowest <= shared.highest);
  int bits = 32 - __clz(static_cast<int>(lowest ^ shared.highest));  // still open
  uint32_t prefix = lowest;                                          // right above the open bits
  while (bits > 0) {
    const int digit = min(8, bits);
    const uint32_t above = bits == 32 ? 0 : kNone << bits;
    bits -= digit;
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) shared.histogram[i] = 0;
    __syncthreads();
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
      const uint32_t value = word(i);
      if (value == kNone || ((value ^ prefix) & above) != 0) continue;
      atomicAdd(&shared.histogram[value >> bits & ((1U << digit) - 1)], 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) find_bin(rank, shared);
    __syncthreads();
    rank -= shared.before;
    const int32_t equal = shared.histogram[shared.bin];
    const uint32_t open = (1U << bits) - 1;
    prefix = (prefix & above) | static_cast<uint32_t>(shared.bin) << bits;
    if (rank == equal || bits == 0) return {prefix | open, rank, equal};
    __syncthreads();  // bin, before and histogram have been read
  }
  return {lowest, rank, count};  // all words are equal
}

// Number of threads before this one whose `flag` holds; `total` in the block. Two barriers.
__device__ inline int32_t count_before(bool flag, int32_t& total, RadixShared& shared) {
  const unsigned flags = __ballot_sync(0xffffffffU, flag);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const unsigned lower = (1U << threadIdx.x % 32) - 1;
  if (threadIdx.x % 32 == 0) shared.warp_counts[warp] = __popc(flags);
  __syncthreads();
  int32_t before = __popc(flags & lower);
  total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) before += total;
    total += shared.warp_counts[w];
  }
  __syncthreads();
  return before;
}

}  // namespace batchmax::kernels::cuda
