// Scores `key_distance` and `key_diff` of one (layer, row, KV head), by one thread block in two passes over
// the candidates' keys: the mean of the keys rotated back, then each key against the mean rotated to its
// position. A few lanes share a key; a lane holds N neighbouring pairs (i, i + D / 2) in 16-byte accesses.
// Rotations are computed from the positions: a row of the tables is twice the bytes of a key in bf16, and no
// two keys of a head share one.
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

struct Turn {
  float cos, sin;
};

// cos and sin of an angle of up to 10^6 in radians, to about 5e-7, in full turns so that reducing is exact.
// fp32 caches, on which backends are compared, get the exact functions instead.
template <typename T>
__device__ inline Turn turn_by(float angle) {
  constexpr double kTurn = 0.15915494309189533577;  // 1 / 2π
  constexpr auto kHigh = static_cast<float>(kTurn);
  constexpr auto kLow = static_cast<float>(kTurn - static_cast<double>(kHigh));
  // Rounds to a whole number by the adder: the instruction for it is as rare as those for sine and cosine.
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23
  const float whole = __fadd_rn(fmaf(angle, kHigh, kRound), -kRound);
  const float part = fmaf(angle, kLow, fmaf(angle, kHigh, -whole));
  if constexpr (std::is_same_v<T, float>) {
    Turn exact;
    sincospif(2.0F * part, &exact.sin, &exact.cos);
    return exact;
  }
  const float radians = part * 6.2831853071795864769F;
  return {__cosf(radians), __sinf(radians)};
}

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
    load_floats<N>(args.rope.frequency + row.rope_table * half_ + (active_ ? pair_ : 0), frequency_);
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

  // A lane's share of a key.
  struct Share {
    Vec<T> low, high;
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
  }
  __device__ Turn turn(const Share& key, int j) const {
    return turn_by<T>(static_cast<float>(key.position) * frequency_[j]);
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
        const Turn by = turn(key, j);
        sum.low[j] += low * by.cos + high * by.sin;
        sum.high[j] += high * by.cos - low * by.sin;
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
      const Turn by = turn(key, j);
      visit(to_float(key.low.at[j]), to_float(key.high.at[j]), mean_.low[j] * by.cos - mean_.high[j] * by.sin,
            mean_.high[j] * by.cos + mean_.low[j] * by.sin);
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
  float frequency_[N];
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
