// What a warp of prefill_mma.cu does with its 32 queries, in two tiles of 16: scores, weights and outputs
// stay in registers.
#pragma once

#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"

namespace batchmax::kernels::cuda {

inline constexpr int kWarps = 4;      // of a thread block
inline constexpr int kWarpTiles = 2;  // of 16 queries
inline constexpr int kBlockQueries = kWarps * kWarpTiles * 16;

// Weights that add up to more are too far above the top that they refer to: outputs may be infinite.
inline constexpr float kMostSum = 0x1p64F;

// A warp has 16 queries of the block's first half and 16 of its second, counted from the end: all warps have
// as much to do where later keys are not seen. The first query of tile t:
__device__ inline int tile_query(int warp, int t) { return 16 * (t == 0 ? warp : 2 * kWarps - 1 - warp); }
// Row of the block's query in shared memory, where those of a warp lie together.
__device__ inline int query_row(int query) {
  const int tile = query / 16;
  return 32 * (tile < kWarps ? tile : 2 * kWarps - 1 - tile) + (tile < kWarps ? 0 : 16) + query % 16;
}

using Scores = float[kWarpTiles][kTileKeys / 8][4];  // fragments C of mma.h

// Functions take the query tiles from kFrom on. A lane has four rows: tile row / 2, lane / 4 + 8 · (row % 2).
template <int D>
struct WarpQueries {
  uint32_t q_at;  // address of the lane's own of the queries' first matrices
  float out[kWarpTiles][D / 8][4] = {};
  float top[kWarpTiles][2];       // that weights refer to, in units of log2
  float sum[kWarpTiles][2] = {};  // of this lane's keys

  __device__ explicit WarpQueries(uint32_t queries_at) : q_at(queries_at) {
    for (auto& tile : top) tile[0] = tile[1] = -INFINITY;
  }

  // Addresses are the lane's own for the first matrices. A step's matrices are read while those before it are
  // multiplied: left to itself, the compiler reads them into the registers that are still in use.
  // `meanwhile`() is called once the first are on their way.
  template <int kFrom, typename Meanwhile>
  __device__ void products(uint32_t k_at, Scores& s, Meanwhile meanwhile) const {
    constexpr int kBlocks = kTileKeys / 16;
    uint32_t a[2][kWarpTiles][4];
    uint32_t b[2][4];
    read_queries<kFrom>(0, a[0]);
    load_matrices(b[0], k_at);
#pragma unroll
    for (int i = 0; i < D / 16 * kBlocks; ++i) {
      const int step = i / kBlocks;
      const int n = i % kBlocks;
      const int next = i + 1;
      if (next < D / 16 * kBlocks)
        load_matrices(b[next % 2], SwizzledTile<D>::further(k_at, next % kBlocks * 16, next / kBlocks));
      if (n == 1 && step + 1 < D / 16) read_queries<kFrom>(step + 1, a[(step + 1) % 2]);
      if (i == 1) meanwhile();
#pragma unroll
      for (int t = kFrom; t < kWarpTiles; ++t) {
        mma(s[t][2 * n], a[step % 2][t], b[i % 2][0], b[i % 2][1]);
        mma(s[t][2 * n + 1], a[step % 2][t], b[i % 2][2], b[i % 2][3]);
      }
    }
  }

  // Scores become weights against the top.
  template <int kFrom>
  __device__ void weigh(Scores& s, float scale2) {
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
      for (int t = kFrom; t < kWarpTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[t][n][i] = exp2_fast(fmaf(s[t][n][i], scale2, -top[t][i / 2]));
          sum[t][i / 2] += s[t][n][i];
        }
      }
    }
  }

  template <int kFrom>
  __device__ void add_values(uint32_t v_at, const Scores& p) {
    constexpr int kBlocks = D / 16;
    uint32_t a[kWarpTiles][4];
    uint32_t b[2][4];
    load_matrices_transposed(b[0], v_at);
#pragma unroll
    for (int i = 0; i < kTileKeys / 16 * kBlocks; ++i) {
      const int key = i / kBlocks;
      const int n = i % kBlocks;
      const int next = i + 1;
      if (next < kTileKeys / 16 * kBlocks)
        load_matrices_transposed(b[next % 2],
                                 SwizzledTile<D>::further(v_at, next / kBlocks * 16, next % kBlocks));
#pragma unroll
      for (int t = kFrom; t < kWarpTiles; ++t) {
#pragma unroll
        for (int j = 0; j < 4 && n == 0; ++j) {
          const float(&from)[4] = p[t][2 * key + j / 2];
          a[t][j] = pack_bf16(from[j % 2 * 2], from[j % 2 * 2 + 1]);
        }
        mma(out[t][2 * n], a[t], b[i % 2][0], b[i % 2][1]);
        mma(out[t][2 * n + 1], a[t], b[i % 2][2], b[i % 2][3]);
      }
    }
  }

  // The largest of these scores becomes the top.
  __device__ void set_tops(const Scores& s, float scale2) {
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) top[row / 2][row % 2] = largest(s, row) * scale2;
  }

  // The top follows once it has fallen behind by 2^8, for raising it means to shrink what has been summed;
  // weights up to 2^8 lose nothing in bf16 and fp32.
  __device__ void raise_tops(const Scores& s, float scale2) {
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) {
      const float most = largest(s, row) * scale2;
      float& old = top[row / 2][row % 2];
      const float raised = most - old > 8 ? most : old;
      const float shrink = exp2_fast(old - raised);
      old = raised;
      sum[row / 2][row % 2] *= shrink;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        out[row / 2][n][row % 2 * 2] *= shrink;
        out[row / 2][n][row % 2 * 2 + 1] *= shrink;
      }
    }
  }

  // Once, before store(): adds up what the lanes have. Bit `row` of the result: its weights were too large.
  __device__ uint32_t join_sums() {
    uint32_t bad = 0;
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) {
      float& total = sum[row / 2][row % 2];
      total += __shfl_xor_sync(~0U, total, 1);
      total += __shfl_xor_sync(~0U, total, 2);
      bad |= (total < kMostSum ? 0U : 1U) << row;
    }
    return bad;
  }

  // The lane's rows of which `rows` has the bit. `first`: query of the thread block.
  __device__ void store(const PrefillArgs& args, const BlockQueries& queries, int32_t first, uint32_t rows) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) {
      const int32_t query =
          first + tile_query(static_cast<int>(threadIdx.x) / 32, row / 2) + 8 * (row % 2) + lane / 4;
      const bool mine = query < queries.count && (rows >> row & 1) != 0;
      const int64_t index = queries.index(query);
      const float total = sum[row / 2][row % 2];
      const float share = 1.0F / total;
      uint4* to = reinterpret_cast<uint4*>(static_cast<bf16*>(args.out) + index * D) + lane % 4;
#pragma unroll
      for (int n = 0; n < D / 8; n += 4) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&from)[4] = out[row / 2][n + i];
          words[i] = pack_bf16(from[row % 2 * 2] * share, from[row % 2 * 2 + 1] * share);
        }
        exchange_words(words, lane);
        if (mine) to[n] = {words[0], words[1], words[2], words[3]};
      }
      if (lane % 4 == 0 && mine) args.lse[index] = kLn2 * (top[row / 2][row % 2] + log2f(total));
    }
  }

 private:
  template <int kFrom>
  __device__ void read_queries(int step, uint32_t (&a)[kWarpTiles][4]) const {
#pragma unroll
    for (int t = kFrom; t < kWarpTiles; ++t)
      load_matrices(a[t], SwizzledTile<D>::further(q_at, 16 * t, step));
  }

  __device__ static float largest(const Scores& s, int row) {
    float most = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n)
      most = fmaxf(most, fmaxf(s[row / 2][n][row % 2 * 2], s[row / 2][n][row % 2 * 2 + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0U, most, 1));
    return fmaxf(most, __shfl_xor_sync(~0U, most, 2));
  }
};

// Keys that a query does not see get no weight: past the tile's valid ones, or later than its own token.
// `first`: query of the thread block.
__device__ inline void mask(const KeyTile<bf16>& tile, const BlockQueries& queries, int32_t first,
                            Scores& s) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int row = 0; row < 2 * kWarpTiles; ++row) {
    const int32_t own =
        first + tile_query(static_cast<int>(threadIdx.x) / 32, row / 2) + 8 * (row % 2) + lane / 4;
    const int32_t query = min(own, queries.count - 1);
    const int32_t visible = tile.first < 0 ? tile.count : query / queries.group - tile.first + 1;
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (8 * n + lane % 4 * 2 + i >= visible) s[row / 2][n][row % 2 * 2 + i] = -INFINITY;
      }
    }
  }
}

}  // namespace batchmax::kernels::cuda
