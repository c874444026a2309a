// Prefill attention on tensor cores through mma.sync, bf16 (compute capability 8.0 and later):
//
//   s_ij = q_i·k_j · scale · log2 e     out_i = Σ_j 2^(s_ij − top_i) v_j / sum_i     lse_i = ln 2 · (top_i +
//   log2 sum_i)
//
// A thread block takes 128 queries of a (row, KV head), token by token with all query heads of the group, and
// goes over the keys they see in tiles of 64, with a running maximum. Each of its 4 warps owns 32 queries;
// scores, probabilities and outputs stay in registers. Two tiles of K and V lie in shared memory: one is used
// while the other is fetched. Work: 4 · D operations for each pair, and for the masked half of the tiles on
// the diagonal.
#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kWarpTiles = 2;                       // of 16 queries
constexpr int kQueries = kWarps * kWarpTiles * 16;  // of a thread block
constexpr int kStages = 2;

template <int D>
constexpr int kTileBytes = kTileKeys* D * 2;
template <int D>
constexpr int kSharedBytes = kQueries* D * 2 + kStages * 2 * kTileBytes<D>;

template <int D>
__device__ void fetch_queries(const bf16* q, const BlockQueries& queries, int32_t first, uint32_t to) {
  constexpr int kChunks = D / 8;
  constexpr int kPass = kThreads / 4 / kChunks * 4;  // rows at once; D 96: 32 threads idle
  const int chunk = static_cast<int>(threadIdx.x) % kChunks;
  int row = static_cast<int>(threadIdx.x) / kChunks;
  if (row >= kPass) return;
  QueryWalk walk(queries, first + row, kPass);
#pragma unroll
  for (; row < kQueries; row += kPass, walk.next()) {
    const bool valid = first + row < queries.count;
    copy_async(SwizzledTile<D>(to).at(row, chunk), q + walk.index() * D + chunk * 8, valid);
  }
}

// K at `to`, V behind it. Rows past the valid ones become zeros.
template <int D>
__device__ void fetch_keys(const KeyTile<bf16>& tile, uint32_t to) {
  const auto in = [](uint32_t base) {
    return [base](int row, int chunk) { return SwizzledTile<D>(base).at(row, chunk); };
  };
  if (tile.first < 0 && tile.count == kTileKeys) {  // a page: addresses are sums of constants
    copy_rows<D, kTileKeys>(tile.k, D, kTileKeys, D * 2, in(to));
    copy_rows<D, kTileKeys>(tile.k + kPageSlots * D, D, kTileKeys, D * 2, in(to + kTileBytes<D>));
    return;
  }
  copy_rows<D, kTileKeys>(tile.k, tile.stride, tile.count, D * 2, in(to));
  copy_rows<D, kTileKeys>(tile.v, tile.stride, tile.count, D * 2, in(to + kTileBytes<D>));
}

// What one warp knows of its 32 queries.
template <int D>
struct WarpQueries {
  float out[kWarpTiles][D / 8][4] = {};
  float top[kWarpTiles][2];       // of q·k: rows lane / 4 and + 8
  float sum[kWarpTiles][2] = {};  // of this lane's keys

  __device__ WarpQueries() {
    for (auto& tile : top) tile[0] = tile[1] = -INFINITY;
  }

  // Addresses are the lane's own for the first matrices. A step's matrices are read while those before it are
  // multiplied: left to itself, the compiler reads them into the registers that are still in use.
  __device__ void products(uint32_t q_at, uint32_t k_at, float (&s)[kWarpTiles][kTileKeys / 8][4]) const {
    constexpr int kBlocks = kTileKeys / 16;
    uint32_t a[2][kWarpTiles][4];
    uint32_t b[2][4];
    load_queries(q_at, 0, a[0]);
    load_matrices(b[0], k_at);
#pragma unroll
    for (int i = 0; i < D / 16 * kBlocks; ++i) {
      const int step = i / kBlocks;
      const int n = i % kBlocks;
      const int next = i + 1;
      if (next < D / 16 * kBlocks)
        load_matrices(b[next % 2], SwizzledTile<D>::further(k_at, next % kBlocks * 16, next / kBlocks));
      if (n == 1 && step + 1 < D / 16) load_queries(q_at, step + 1, a[(step + 1) % 2]);
#pragma unroll
      for (int t = 0; t < kWarpTiles; ++t) {
        mma(s[t][2 * n], a[step % 2][t], b[i % 2][0], b[i % 2][1]);
        mma(s[t][2 * n + 1], a[step % 2][t], b[i % 2][2], b[i % 2][3]);
      }
    }
  }

  // Scores become weights against the new top.
  __device__ void weigh(float (&s)[kWarpTiles][kTileKeys / 8][4], float scale2) {
    raise_tops(s, scale2);
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
      for (int t = 0; t < kWarpTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[t][n][i] = exp2_fast(fmaf(s[t][n][i], scale2, -top[t][i / 2] * scale2));
          sum[t][i / 2] += s[t][n][i];
        }
      }
    }
  }

  __device__ void add_values(uint32_t v_at, const float (&p)[kWarpTiles][kTileKeys / 8][4]) {
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
      for (int t = 0; t < kWarpTiles; ++t) {
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

  __device__ void store(const PrefillArgs& args, const BlockQueries& queries, int32_t first, int lane) {
#pragma unroll
    for (int t = 0; t < kWarpTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[t][half];
        total += __shfl_xor_sync(~0U, total, 1);
        total += __shfl_xor_sync(~0U, total, 2);
        const int32_t query = first + 16 * t + 8 * half + lane / 4;
        const int64_t index = queries.index(query);
        const float share = 1.0F / total;
        uint4* to = reinterpret_cast<uint4*>(static_cast<bf16*>(args.out) + index * D) + lane % 4;
#pragma unroll
        for (int n = 0; n < D / 8; n += 4) {
          uint32_t words[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float(&from)[4] = out[t][n + i];
            words[i] = pack_bf16(from[2 * half] * share, from[2 * half + 1] * share);
          }
          exchange_words(words, lane);
          if (query < queries.count) to[n] = {words[0], words[1], words[2], words[3]};
        }
        if (lane % 4 == 0 && query < queries.count)
          args.lse[index] = kLn2 * fmaf(top[t][half], args.scale2, log2f(total));
      }
    }
  }

 private:
  __device__ static void load_queries(uint32_t q_at, int step, uint32_t (&a)[kWarpTiles][4]) {
#pragma unroll
    for (int t = 0; t < kWarpTiles; ++t) load_matrices(a[t], SwizzledTile<D>::further(q_at, 16 * t, step));
  }

  // The four rows of a lane side by side, so that one's latency hides behind the others'.
  __device__ void raise_tops(const float (&s)[kWarpTiles][kTileKeys / 8][4], float scale2) {
    float most[kWarpTiles][2];
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
      for (int t = 0; t < kWarpTiles; ++t) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float of = fmaxf(s[t][n][2 * half], s[t][n][2 * half + 1]);
          most[t][half] = n == 0 ? of : fmaxf(most[t][half], of);
        }
      }
    }
    bool raised = false;
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) {
      float& of = most[row / 2][row % 2];
      of = fmaxf(of, __shfl_xor_sync(~0U, of, 1));
      of = fmaxf(of, __shfl_xor_sync(~0U, of, 2));
      of = raised_top(top[row / 2][row % 2], of, scale2);
      raised |= of != top[row / 2][row % 2];
    }
    if (!__any_sync(~0U, raised)) return;
#pragma unroll
    for (int row = 0; row < 2 * kWarpTiles; ++row) {
      float& old = top[row / 2][row % 2];
      const float shrink = exp2_fast((old - most[row / 2][row % 2]) * scale2);
      old = most[row / 2][row % 2];
      sum[row / 2][row % 2] *= shrink;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        out[row / 2][n][row % 2 * 2] *= shrink;
        out[row / 2][n][row % 2 * 2 + 1] *= shrink;
      }
    }
  }
};

// Keys that a query does not see get no weight: past the tile's valid ones, or later than its own token.
__device__ void mask(const KeyTile<bf16>& tile, const BlockQueries& queries, int32_t first, int lane,
                     float (&s)[kWarpTiles][kTileKeys / 8][4]) {
#pragma unroll
  for (int t = 0; t < kWarpTiles; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t query = min(first + 16 * t + 8 * half + lane / 4, queries.count - 1);
      const int32_t visible = tile.first < 0 ? tile.count : query / queries.group - tile.first + 1;
#pragma unroll
      for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (8 * n + lane % 4 * 2 + i >= visible) s[t][n][2 * half + i] = -INFINITY;
        }
      }
    }
  }
}

// Grid: blocks of 128 queries, KV heads, rows.
template <int D>
__global__ void __launch_bounds__(kThreads, 2) prefill_kernel(const PrefillArgs args) {
  extern __shared__ __align__(128) std::byte shared[];
  const Row row = args.rows[blockIdx.z];
  const auto head = static_cast<int32_t>(blockIdx.y);
  const BlockQueries queries(row, args.kv.kv_heads, args.group, head);
  const auto first = static_cast<int32_t>(blockIdx.x) * kQueries;
  if (first >= queries.count) return;

  const PrefillKeys<bf16> keys(args.kv, args.layer, row, head, static_cast<const bf16*>(args.k),
                               static_cast<const bf16*>(args.v));
  const int32_t tiles = keys.tiles((min(first + kQueries, queries.count) - 1) / args.group);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * kWarpTiles * 16;
  const uint32_t q_at = shared_address(shared);
  const uint32_t q_lane = SwizzledTile<D>(q_at).at(warp_row + lane % 16, lane / 16);
  const uint32_t k_lane = SwizzledTile<D>(0).at(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  const uint32_t v_lane = SwizzledTile<D>(kTileBytes<D>).at(lane % 16, lane / 16);
  const uint32_t ring = q_at + kQueries * D * 2;

  fetch_queries<D>(static_cast<const bf16*>(args.q), queries, first, q_at);
  fetch_keys<D>(keys.at(0), ring);
  int32_t page = keys.page(1);
  commit_copies();
  WarpQueries<D> warp;
  for (int32_t t = 0; t < tiles; ++t) {
    const uint32_t at = ring + static_cast<uint32_t>(t % kStages * 2 * kTileBytes<D>);
    wait_for_copies<0>();
    __syncthreads();  // tile t is there for all, and all have done with tile t - 1
    const uint32_t other = ring + static_cast<uint32_t>((t + 1) % kStages * 2 * kTileBytes<D>);
    if (t + 1 < tiles) fetch_keys<D>(keys.at(t + 1, page), other);
    page = keys.page(t + 2);
    commit_copies();

    float s[kWarpTiles][kTileKeys / 8][4] = {};
    warp.products(q_lane, at + k_lane, s);
    const KeyTile<bf16> tile = keys.at(t, 0);  // which keys: the page does not matter
    const bool seen_by_all = tile.first < 0 || tile.first + kTileKeys - 1 <= (first + warp_row) / args.group;
    if (tile.count < kTileKeys || !seen_by_all) mask(tile, queries, first + warp_row, lane, s);
    warp.weigh(s, args.scale2);
    warp.add_values(at + v_lane, s);
  }
  warp.store(args, queries, first + warp_row, lane);
}

template <int D>
void launch(cudaStream_t stream, const PrefillArgs& args, dim3 grid) {
  check(cudaFuncSetAttribute(prefill_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes<D>),
        "cudaFuncSetAttribute");
  prefill_kernel<D><<<grid, kThreads, kSharedBytes<D>, stream>>>(args);
  check_launch("prefill_attention");
}

}  // namespace

void prefill_attention_mma(cudaStream_t stream, const PrefillArgs& args, int32_t rows, int32_t queries) {
  const dim3 grid(static_cast<unsigned>((queries + kQueries - 1) / kQueries),
                  static_cast<unsigned>(args.kv.kv_heads), static_cast<unsigned>(rows));
  switch (args.kv.head_dim) {
    case 64:
      return launch<64>(stream, args, grid);
    case 96:
      return launch<96>(stream, args, grid);
    default:
      return launch<128>(stream, args, grid);
  }
}

}  // namespace batchmax::kernels::cuda
