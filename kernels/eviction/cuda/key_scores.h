// Scores `key_distance` and `key_diff` of one (layer, row, KV head), by one thread block in two passes over
// the candidates' keys: the mean of the keys rotated back, then each key against the mean rotated to its
// position. A few lanes share a key; a lane holds N neighbouring pairs (i, i + D / 2) in 16-byte accesses.
//
// The mean's sum has one order, whatever the launch: candidates in tiles of kTile, in a tile a group of lanes
// takes every (kThreads / Lanes)-th key; groups, then warps, are added in a tree; tiles in double.
#pragma once

#include "kernels/eviction/check_candidates.h"
#include "kernels/eviction/cuda/candidates.h"
#include "kernels/eviction/order.h"

namespace batchmax::kernels::cuda {

struct MeanShared {
  float partial[kWarps][kMaxHeadDim];
  float mean[kMaxHeadDim];
};

// T: the cache's dtype. Lanes: a power of two, at least D / 2 / kVec<T>.
template <typename T, int Lanes>
class KeyScores {
 public:
  static constexpr bool kReadsKeys = true;

  // words: the candidates' positions, which are there for all threads.
  __device__ KeyScores(const CandidateArgs& args, const HeadCandidates& candidates, const Row& row,
                       const uint32_t* words, MeanShared& shared)
      : candidates_(candidates),
        words_(words),
        half_(args.kv.head_dim / 2),
        pair_(static_cast<int32_t>(threadIdx.x) % Lanes * N),
        active_(pair_ < half_) {
    const int64_t table = static_cast<int64_t>(row.rope_table) * args.rope.max_positions * half_;
    cos_ = args.rope.cos + table + (active_ ? pair_ : 0);
    sin_ = args.rope.sin + table + (active_ ? pair_ : 0);
    find_mean(shared);
  }

  // Calls finish(i, position, score) for every candidate, by one thread each.
  template <typename Finish>
  __device__ void each(Score score, Finish finish) const {
    score == Score::key_distance ? distances(finish) : differences(finish);
  }

 private:
  static constexpr int N = kVec<T>;
  static constexpr int kGroups = kThreads / Lanes;  // keys in work at a time
  static constexpr int kEach = 2;                   // keys whose loads a lane has in flight
  static constexpr int kTile = 4096;

  // A lane's share of a key and of its position's rotation.
  struct Share {
    Vec<T> low, high;
    float cos[N], sin[N];
    int32_t position;
  };
  struct Pairs {
    float low[N], high[N];
  };

  __device__ static int32_t group() { return static_cast<int32_t>(threadIdx.x) / Lanes; }

  // Idle lanes (D / 2 no power of two) read their group's first pairs and are left out of sums.
  __device__ void load(int32_t i, Share& to) const {
    to.position = static_cast<int32_t>(words_[i]);
    const T* key = candidates_.key<T>(i) + (active_ ? pair_ : 0);
    to.low = load_vec(key);
    to.high = load_vec(key + half_);
    const int64_t at = static_cast<int64_t>(to.position) * half_;
    load_floats<N>(cos_ + at, to.cos);
    load_floats<N>(sin_ + at, to.sin);
  }

  // visit(i, share) for the group's keys of [begin, end): the same number of calls for all threads; i == end,
  // and nothing loaded, where there is none. (Not the last key once more: its word may have been replaced.)
  template <typename Visit>
  __device__ void for_each_key(int32_t begin, int32_t end, Visit visit) const {
    for (int32_t base = begin; base < end; base += kGroups * kEach) {
      Share share[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        const int32_t i = base + e * kGroups + group();
        if (i < end) load(i, share[e]);
      }
      __syncwarp();  // `visit` may replace words that other lanes of the group have just read
#pragma unroll
      for (int e = 0; e < kEach; ++e) visit(min(base + e * kGroups + group(), end), share[e]);
    }
  }

  __device__ void find_mean(MeanShared& shared) {
    const int32_t count = candidates_.count();
    const int32_t dim = static_cast<int32_t>(threadIdx.x);
    double total = 0;
    for (int32_t begin = 0; begin < count; begin += kTile) {
      sum_tile(begin, min(begin + kTile, count), shared);
      __syncthreads();
      if (dim < 2 * half_) {
        float sum = 0;
        for (int warp = 0; warp < kWarps; ++warp) sum += shared.partial[warp][dim];
        total += static_cast<double>(sum);
      }
      __syncthreads();
    }
    if (dim < 2 * half_) shared.mean[dim] = static_cast<float>(total / count);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; ++j) {
      mean_.low[j] = active_ ? shared.mean[pair_ + j] : 0.0F;
      mean_.high[j] = active_ ? shared.mean[half_ + pair_ + j] : 0.0F;
    }
  }

  // partial[warp] = Σ u over the warp's keys of [begin, end).
  __device__ void sum_tile(int32_t begin, int32_t end, MeanShared& shared) const {
    Pairs sum = {};
    for_each_key(begin, end, [&](int32_t i, const Share& key) {
      if (i == end) return;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float low = to_float(key.low.at[j]);
        const float high = to_float(key.high.at[j]);
        sum.low[j] += low * key.cos[j] + high * key.sin[j];
        sum.high[j] += high * key.cos[j] - low * key.sin[j];
      }
    });
#pragma unroll
    for (int j = 0; j < N; ++j) {
#pragma unroll
      for (int offset = Lanes; offset < 32; offset *= 2) {
        sum.low[j] += __shfl_xor_sync(0xffffffffU, sum.low[j], offset);
        sum.high[j] += __shfl_xor_sync(0xffffffffU, sum.high[j], offset);
      }
    }
    if (threadIdx.x % 32 >= Lanes || !active_) return;
    float* partial = shared.partial[threadIdx.x / 32];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      partial[pair_ + j] = sum.low[j];
      partial[half_ + pair_ + j] = sum.high[j];
    }
  }

  __device__ static float group_sum(float value) {
#pragma unroll
    for (int offset = Lanes / 2; offset > 0; offset /= 2)
      value += __shfl_xor_sync(0xffffffffU, value, offset);
    return value;
  }

  // visit(low, high, mean_low, mean_high) for the lane's pairs, the mean's rotated to the key's position.
  template <typename Visit>
  __device__ void with_rotated_mean(const Share& key, Visit visit) const {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      visit(to_float(key.low.at[j]), to_float(key.high.at[j]),
            mean_.low[j] * key.cos[j] - mean_.high[j] * key.sin[j],
            mean_.high[j] * key.cos[j] + mean_.low[j] * key.sin[j]);
    }
  }

  template <typename Finish>
  __device__ void distances(Finish finish) const {
    const int32_t count = candidates_.count();
    for_each_key(0, count, [&](int32_t i, const Share& key) {
      float squares = 0;
      with_rotated_mean(key, [&](float low, float high, float mean_low, float mean_high) {
        low -= mean_low;
        high -= mean_high;
        squares += low * low + high * high;
      });
      squares = group_sum(active_ ? squares : 0.0F);
      if (i < count && pair_ == 0) finish(i, key.position, key_distance_score(squares));
    });
  }

  template <typename Finish>
  __device__ void differences(Finish finish) const {
    float mean_squares = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) mean_squares += mean_.low[j] * mean_.low[j] + mean_.high[j] * mean_.high[j];
    mean_squares = group_sum(mean_squares);
    const int32_t count = candidates_.count();
    for_each_key(0, count, [&](int32_t i, const Share& key) {
      float dot = 0;
      float squares = 0;
      with_rotated_mean(key, [&](float low, float high, float mean_low, float mean_high) {
        dot += low * mean_low + high * mean_high;
        squares += low * low + high * high;
      });
      dot = group_sum(active_ ? dot : 0.0F);
      squares = group_sum(active_ ? squares : 0.0F);
      if (i < count && pair_ == 0) finish(i, key.position, key_diff_score(dot, squares, mean_squares));
    });
  }

  const HeadCandidates& candidates_;
  const uint32_t* words_;
  int32_t half_;
  int32_t pair_;  // the lane's first
  bool active_;
  const float* cos_;
  const float* sin_;
  Pairs mean_;
};

// work(T{}, std::integral_constant<int, Lanes>{}) for the cache's dtype and head dimension.
template <typename Work>
void on_key_shape(const KvView& kv, Work&& work) {
  on_float_type(kv.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int32_t vectors = kv.head_dim / 2 / kVec<T>;  // of half a key
    if (vectors <= 4) return work(T{}, std::integral_constant<int, 4>{});
    if (vectors <= 8) return work(T{}, std::integral_constant<int, 8>{});
    if (vectors <= 16) return work(T{}, std::integral_constant<int, 16>{});
    work(T{}, std::integral_constant<int, 32>{});
  });
}

}  // namespace batchmax::kernels::cuda
