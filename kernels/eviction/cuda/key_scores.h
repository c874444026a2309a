// Scores `key_distance` and `key_diff` of one (layer, row, KV head), by the thread blocks of a cluster, a
// part of the candidates each. A few lanes share a key; a lane holds N neighbouring pairs (i, i + D / 2).
// Keys are read once: rotated back and added to the mean, they wait in shared memory, in fp32, until the mean
// is known, and are compared with it there. What does not fit is read and rotated a second time, to the same
// bits. Rotations are computed from the positions: a row of the tables is twice the bytes of a key in bf16,
// and no two keys of a head share one.
//
// The mean's sum has one order, whatever the launch: the candidates are divided into eight runs, the most
// that blocks may be; in a run tiles of kTile, in a tile a group of lanes takes every kGroups-th key; groups,
// then warps, are added in a tree; tiles in double, then runs.
#pragma once

#include "kernels/eviction/check_candidates.h"
#include "kernels/eviction/cuda/candidates.h"
#include "kernels/eviction/cuda/cluster.h"
#include "kernels/eviction/order.h"

namespace batchmax::kernels::cuda {

// How the threads of a block divide a key of D elements.
template <typename T, int D>
struct KeyShape {
  using Element = T;
  static constexpr int kDim = D;
  static constexpr int kHalf = D / 2;
  // The most lanes that leave each at least 16 bytes of a half, in whole accesses of 8.
  static constexpr int lanes() {
    int most = 1;
    for (int lanes = 2; lanes <= 32 && kHalf % lanes == 0; lanes *= 2) {
      const int bytes = kHalf / lanes * static_cast<int>(sizeof(T));
      if (bytes >= 16 && bytes % 8 == 0) most = lanes;
    }
    return most;
  }
  static constexpr int kLanes = lanes();
  static constexpr int N = kHalf / kLanes;           // pairs of a lane
  static constexpr int kGroups = kThreads / kLanes;  // keys in work at a time: a round
  static constexpr int kQuads = 2 * N / 4;           // accesses for a lane's share in fp32
  static constexpr size_t kRoundBytes = kThreads * kQuads * sizeof(float4) + kGroups * sizeof(int32_t);
};

inline constexpr int kRuns = kMostClusterBlocks;

template <int D>
struct MeanShared {
  float partial[kWarps][D];
  float sums[kRuns][D];  // of each run
  float mean[D];
};

struct Turn {
  float cos, sin;
};

// cos and sin of an angle of up to 10^6 in radians, to about 5e-7: less whole turns, in two parts of 2π.
// fp32 caches, on which backends are compared, get the exact functions instead.
template <typename T>
__device__ inline Turn turn_by(float angle) {
  constexpr double kTurn = 6.283185307179586477;
  constexpr auto kHigh = static_cast<float>(kTurn);
  constexpr auto kLow = static_cast<float>(kTurn - static_cast<double>(kHigh));
  // Rounds to a whole number by the adder: the instruction for it is as rare as those for sine and cosine.
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23
  const float turns = __fadd_rn(__fmaf_rn(angle, static_cast<float>(1 / kTurn), kRound), -kRound);
  const float rest = __fmaf_rn(-turns, kLow, __fmaf_rn(-turns, kHigh, angle));
  if constexpr (std::is_same_v<T, float>) {
    Turn exact;
    sincospif(rest * static_cast<float>(2 / kTurn), &exact.sin, &exact.cos);
    return exact;
  }
  return {__cosf(rest), __sinf(rest)};
}

template <typename Shape, int kBlocks>
class KeyScores {
 public:
  using Shared = MeanShared<Shape::kDim>;

  // held: shared memory for `rounds` rounds of keys, Shape::kRoundBytes each.
  __device__ KeyScores(const CandidateArgs& args, const HeadCandidates& candidates, const Row& row,
                       void* held, int32_t rounds, Shared& shared)
      : candidates_(candidates),
        held_(static_cast<float4*>(held)),
        held_positions_(reinterpret_cast<int32_t*>(held_ + rounds * Shape::kQuads * kThreads)),
        held_end_(rounds * kGroups) {
    const int32_t count = candidates.count();
    run_ = (count + kRuns * kGroups - 1) / (kRuns * kGroups) * kGroups;
    begin_ = min(Cluster<kBlocks>::rank() * kOwnRuns * run_, count);
    end_ = min(begin_ + kOwnRuns * run_, count);
    held_end_ += begin_;
    const float* frequency = args.rope.frequency + row.rope_table * Shape::kHalf + lane() * N;
#pragma unroll
    for (int j = 0; j < N; ++j) frequency_[j] = frequency[j];
    find_mean(shared);
  }

  // Calls finish(i, position, score) for every candidate of the block's part, by one thread each.
  template <typename Finish>
  __device__ void each(Score score, Finish finish) const {
    score == Score::key_distance ? distances(finish) : differences(finish);
  }

 private:
  using T = typename Shape::Element;
  static constexpr int N = Shape::N;
  static constexpr int kLanes = Shape::kLanes;
  static constexpr int kGroups = Shape::kGroups;
  static constexpr int kOwnRuns = kRuns / kBlocks;
  // Keys whose loads a lane has in flight: a run of 160, of the default budget, in one go. A block that is
  // alone has others beside it (kBlocksAtOnce) instead.
  static constexpr int kEach = N > 8 || kBlocks == 1 ? 3 : 5;
  static constexpr int kTile = 4096;
  static_assert(kTile % kGroups == 0);

  // Half of a lane's share of a key, as it is stored.
  using Access = std::conditional_t<N * sizeof(T) % 16 == 0, uint4, uint2>;
  struct Half {
    static constexpr int kEach = sizeof(Access) / sizeof(T);
    Access part[N / kEach];

    __device__ void load(const T* from) {
#pragma unroll
      for (int p = 0; p < N / kEach; ++p) part[p] = reinterpret_cast<const Access*>(from)[p];
    }
    __device__ float at(int j) const {
      struct alignas(sizeof(Access)) Elements {
        T at[kEach];
      };
      return to_float(__builtin_bit_cast(Elements, part[j / kEach]).at[j % kEach]);
    }
  };
  struct Stored {
    Half low, high;
    int32_t position;
  };
  // Rotated back.
  struct Pairs {
    float low[N], high[N];
  };

  __device__ static int32_t lane() { return static_cast<int32_t>(threadIdx.x) % kLanes; }
  __device__ static int32_t group() { return static_cast<int32_t>(threadIdx.x) / kLanes; }

  // Keys i, i + kGroups, ... ; the last one again for those past it.
  __device__ void load_round(int32_t i, int32_t end, Stored (&to)[kEach]) const {
    HeadCandidates::Page page[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e) page[e] = candidates_.page(min(i + e * kGroups, end - 1));
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int32_t at = min(i + e * kGroups, end - 1);
      const T* key = candidates_.key<T, Shape::kDim>(at, page[e]) + lane() * N;
      to[e].low.load(key);
      to[e].high.load(key + Shape::kHalf);
      to[e].position = candidates_.position(at, page[e]);
    }
  }

  // The compiler may fuse products and sums as it likes elsewhere: not here, where a key that is read twice
  // must come out the same.
  __device__ Pairs turned_back(const Stored& key) const {
    Pairs u;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const Turn by = turn_by<T>(__fmul_rn(static_cast<float>(key.position), frequency_[j]));
      const float low = key.low.at(j);
      const float high = key.high.at(j);
      u.low[j] = __fmaf_rn(high, by.sin, __fmul_rn(low, by.cos));
      u.high[j] = __fmaf_rn(-low, by.sin, __fmul_rn(high, by.cos));
    }
    return u;
  }

  __device__ float4* held(int32_t i) const {
    return held_ + static_cast<size_t>((i - begin_) / kGroups * Shape::kQuads * kThreads) + threadIdx.x;
  }
  __device__ void hold(int32_t i, int32_t position, const Pairs& u) const {
    if (i >= held_end_) return;
    float4* to = held(i);
#pragma unroll
    for (int q = 0; q < Shape::kQuads; ++q) {
      const int j = 2 * q;
      to[q * kThreads] = make_float4(u.low[j], u.low[j + 1], u.high[j], u.high[j + 1]);
    }
    if (lane() == 0) held_positions_[i - begin_] = position;
  }
  // position: in lane 0.
  __device__ void recall(int32_t i, int32_t& position, Pairs& u) const {
    const float4* from = held(i);
#pragma unroll
    for (int q = 0; q < Shape::kQuads; ++q) {
      const float4 quad = from[q * kThreads];
      const int j = 2 * q;
      u.low[j] = quad.x;
      u.low[j + 1] = quad.y;
      u.high[j] = quad.z;
      u.high[j + 1] = quad.w;
    }
    position = lane() == 0 ? held_positions_[i - begin_] : 0;
  }

  __device__ void find_mean(Shared& shared) {
    using Peers = Cluster<kBlocks>;
    const int32_t dim = static_cast<int32_t>(threadIdx.x);
    for (int run = 0; run < kOwnRuns; ++run) {
      const float total = sum_run(begin_ + run * run_, shared);
      if (run == 0) Peers::wait();  // until all have started: the caller arrived
      if (dim < Shape::kDim) {
#pragma unroll
        for (int of = 0; of < kBlocks; ++of)
          *Peers::at(&shared.sums[Peers::rank() * kOwnRuns + run][dim], of) = total;
      }
    }
    Peers::arrive();
    Peers::wait();
    if (dim < Shape::kDim) {
      double sum = 0;
#pragma unroll
      for (int run = 0; run < kRuns; ++run) sum += static_cast<double>(shared.sums[run][dim]);
      shared.mean[dim] = static_cast<float>(sum / candidates_.count());
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; ++j) {
      mean_.low[j] = shared.mean[lane() * N + j];
      mean_.high[j] = shared.mean[Shape::kHalf + lane() * N + j];
    }
  }

  // Σ u over the run from `begin` on, of one element in each of the first D threads.
  __device__ float sum_run(int32_t begin, Shared& shared) const {
    const int32_t end = min(begin + run_, end_);
    double total = 0;
    for (int32_t first = begin; first < end; first += kTile) {
      sum_tile(first, min(first + kTile, end), shared);
      __syncthreads();
      if (threadIdx.x < Shape::kDim) {
        float sum = 0;
        for (int warp = 0; warp < kWarps; ++warp) sum += shared.partial[warp][threadIdx.x];
        total += static_cast<double>(sum);
      }
      __syncthreads();
    }
    return static_cast<float>(total);
  }

  // partial[warp] = Σ u over the warp's keys of [first, last).
  __device__ void sum_tile(int32_t first, int32_t last, Shared& shared) const {
    Pairs sum = {};
    for (int32_t base = first; base < last; base += kEach * kGroups) {
      Stored key[kEach];
      load_round(base + group(), last, key);
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        const int32_t i = base + e * kGroups + group();
        if (i >= last) continue;
        const Pairs u = turned_back(key[e]);
        hold(i, key[e].position, u);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          sum.low[j] += u.low[j];
          sum.high[j] += u.high[j];
        }
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
#pragma unroll
      for (int offset = kLanes; offset < 32; offset *= 2) {
        sum.low[j] += __shfl_xor_sync(0xffffffffU, sum.low[j], offset);
        sum.high[j] += __shfl_xor_sync(0xffffffffU, sum.high[j], offset);
      }
    }
    if (threadIdx.x % 32 >= kLanes) return;
    float* partial = shared.partial[threadIdx.x / 32];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      partial[lane() * N + j] = sum.low[j];
      partial[Shape::kHalf + lane() * N + j] = sum.high[j];
    }
  }

  // visit(i, position, u) for the group's keys of the block's part, the same number of times for all threads;
  // i == end_ where there is none. position: in lane 0.
  template <typename Visit>
  __device__ void for_each_key(Visit visit) const {
    const int32_t held_end = min(held_end_, end_);
#pragma unroll 2
    for (int32_t base = begin_; base < held_end; base += kGroups) {
      const int32_t i = min(base + group(), end_);
      Pairs u = {};
      int32_t position = 0;
      if (i < end_) recall(i, position, u);
      visit(i, position, u);
    }
    for (int32_t base = held_end_; base < end_; base += kEach * kGroups) {
      Stored key[kEach];
      load_round(base + group(), end_, key);
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        const int32_t i = min(base + e * kGroups + group(), end_);
        Pairs u = {};
        if (i < end_) u = turned_back(key[e]);
        visit(i, key[e].position, u);
      }
    }
  }

  __device__ static float group_sum(float value) {
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2)
      value += __shfl_xor_sync(0xffffffffU, value, offset);
    return value;
  }

  template <typename Finish>
  __device__ void distances(Finish finish) const {
    for_each_key([&](int32_t i, int32_t position, const Pairs& u) {
      float squares = 0;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float low = u.low[j] - mean_.low[j];
        const float high = u.high[j] - mean_.high[j];
        squares = __fmaf_rn(high, high, __fmaf_rn(low, low, squares));
      }
      squares = group_sum(squares);
      if (i < end_ && lane() == 0) finish(i, position, key_distance_score(squares));
    });
  }

  template <typename Finish>
  __device__ void differences(Finish finish) const {
    float mean_squares = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) mean_squares += mean_.low[j] * mean_.low[j] + mean_.high[j] * mean_.high[j];
    mean_squares = group_sum(mean_squares);
    for_each_key([&](int32_t i, int32_t position, const Pairs& u) {
      float dot = 0;
      float squares = 0;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        dot = __fmaf_rn(u.high[j], mean_.high[j], __fmaf_rn(u.low[j], mean_.low[j], dot));
        squares = __fmaf_rn(u.high[j], u.high[j], __fmaf_rn(u.low[j], u.low[j], squares));
      }
      dot = group_sum(dot);
      squares = group_sum(squares);
      if (i < end_ && lane() == 0) finish(i, position, key_diff_score(dot, squares, mean_squares));
    });
  }

  const HeadCandidates& candidates_;
  float4* held_;             // [round][quad][thread]
  int32_t* held_positions_;  // [round][group]
  int32_t held_end_;         // candidates below are held
  int32_t run_;              // candidates of a run, whole rounds
  int32_t begin_;            // the block's runs
  int32_t end_;
  float frequency_[N];
  Pairs mean_;
};

// work(KeyShape<T, D>{}) for the cache's dtype and head dimension.
template <typename Work>
void on_key_shape(const KvView& kv, Work&& work) {
  on_float_type(kv.dtype, [&](auto zero) {
    using T = decltype(zero);
    switch (kv.head_dim) {
      case 32:
        return work(KeyShape<T, 32>{});
      case 64:
        return work(KeyShape<T, 64>{});
      case 96:
        return work(KeyShape<T, 96>{});
      default:
        return work(KeyShape<T, 128>{});
    }
  });
}

}  // namespace batchmax::kernels::cuda
