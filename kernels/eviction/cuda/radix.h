// Exact selection among 32-bit words by one thread block: histograms of 8 bits at a time, from the highest
// bit in which the words differ, until the words that share the digits so far are taken as a whole. Scores of
// one head mostly share sign and exponent: without skipping what all share, the first passes would queue up
// at one counter and tell nothing.
#pragma once

#include "kernels/eviction/cuda/candidates.h"

namespace batchmax::kernels::cuda {

inline constexpr uint32_t kNone = UINT32_MAX;  // a word that does not take part

inline constexpr int kBins = 256;
inline constexpr int kMostDigits = 4;  // of 8 bits in a word

struct RadixShared {
  alignas(16) int32_t histogram[kMostDigits][kBins];
  uint32_t lowest[kWarps];
  uint32_t highest[kWarps];
  int32_t warp_counts[kWarps];
};

// Before the first radix_cut(), and a barrier between.
__device__ inline void clear_histograms(RadixShared& shared) {
  for (int i = static_cast<int>(threadIdx.x); i < kMostDigits * kBins; i += kThreads)
    shared.histogram[0][i] = 0;
}

// What holds the rank-th lowest word. All words below `last` are among the rank lowest, and `taken` of the
// `equal` words that equal it; where taken == equal, all words up to `last` are, and no others.
struct RadixCut {
  uint32_t last;
  int32_t taken;
  int32_t equal;
};

struct WordRange {
  uint32_t lowest, highest;
};

// Of the words that take part; lowest > highest: there are none. One barrier.
template <typename Word>
__device__ WordRange find_range(int32_t count, Word word, RadixShared& shared) {
  WordRange range{kNone, 0};
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    const uint32_t value = word(i);
    if (value == kNone) continue;
    range = {min(range.lowest, value), max(range.highest, value)};
  }
  range = {__reduce_min_sync(0xffffffffU, range.lowest), __reduce_max_sync(0xffffffffU, range.highest)};
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (threadIdx.x % 32 == 0) {
    shared.lowest[warp] = range.lowest;
    shared.highest[warp] = range.highest;
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w)
    range = {min(range.lowest, shared.lowest[w]), max(range.highest, shared.highest[w])};
  return range;
}

struct Bin {
  int32_t index;
  int32_t before;  // words in bins below
  int32_t words;
};

// The bin that holds the rank-th word counted, by every warp for itself. Traps where there are fewer.
__device__ inline Bin find_bin(const int32_t* histogram, int32_t rank) {
  constexpr int kEach = kBins / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int32_t counts[kEach];
#pragma unroll
  for (int j = 0; j < kEach; j += 4)
    *reinterpret_cast<int4*>(counts + j) = *reinterpret_cast<const int4*>(histogram + lane * kEach + j);
  int32_t own = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) own += counts[j];
  int32_t upto = own;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int32_t left = __shfl_up_sync(0xffffffffU, upto, offset);
    if (lane >= offset) upto += left;
  }
  const unsigned reached = __ballot_sync(0xffffffffU, rank <= upto);
  device_check(reached != 0);
  Bin bin{lane * kEach, upto - own, 0};
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    bin.words = counts[j];
    if (bin.before + counts[j] >= rank) break;
    bin.before += counts[j];
    ++bin.index;
  }
  const int holder = __ffs(static_cast<int>(reached)) - 1;
  return {__shfl_sync(0xffffffffU, bin.index, holder), __shfl_sync(0xffffffffU, bin.before, holder),
          __shfl_sync(0xffffffffU, bin.words, holder)};
}

// word(i): word of candidate i; rank from 1. The same result in every thread. Histograms have been cleared.
template <typename Word>
__device__ RadixCut radix_cut(int32_t count, Word word, int32_t rank, RadixShared& shared) {
  const WordRange range = find_range(count, word, shared);
  device_check(range.lowest <= range.highest);
  int bits = 32 - __clz(static_cast<int>(range.lowest ^ range.highest));  // still open
  uint32_t prefix = range.lowest;                                         // right above the open bits
  for (int32_t* histogram = shared.histogram[0]; bits > 0; histogram += kBins) {
    const int digit = min(8, bits);
    const uint32_t above = bits == 32 ? 0 : kNone << bits;
    bits -= digit;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
      const uint32_t value = word(i);
      if (value == kNone || ((value ^ prefix) & above) != 0) continue;
      atomicAdd(&histogram[value >> bits & ((1U << digit) - 1)], 1);
    }
    __syncthreads();
    const Bin bin = find_bin(histogram, rank);
    rank -= bin.before;
    const uint32_t open = (1U << bits) - 1;
    prefix = (prefix & above) | static_cast<uint32_t>(bin.index) << bits;
    if (rank == bin.words || bits == 0) return {prefix | open, rank, bin.words};
  }
  return {range.lowest, rank, count};  // all words are equal
}

// How many of all warps' `count` belong to warps before this one; `total`: of all. One barrier; another
// before the next call.
__device__ inline int32_t count_before_warp(int32_t count, int32_t& total, RadixShared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (threadIdx.x % 32 == 0) shared.warp_counts[warp] = count;
  __syncthreads();
  int32_t before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) before = total;
    total += shared.warp_counts[w];
  }
  return before;
}

}  // namespace batchmax::kernels::cuda
