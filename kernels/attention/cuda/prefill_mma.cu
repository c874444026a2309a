// Prefill attention on tensor cores through mma.sync, bf16 (compute capability 8.0 and later):
//
//   s_ij = q_i·k_j · scale · log2 e     out_i = Σ_j 2^(s_ij − top_i) v_j / sum_i     lse_i = ln 2 · (top_i +
//   log2 sum_i)
//
// A thread block takes 128 queries of a (row, KV head), token by token with all query heads of the group, and
// goes over the keys they see in tiles of 64; each of its 4 warps owns 32 queries. Two tiles of K and V lie
// in shared memory: one is used while the other is fetched. The top of a query is the largest score of its
// first tile; where its weights turn out too large for that, the block goes over the keys again, for those
// queries, with a running maximum. Work: 4 · D operations for each pair, and for the masked half of the tiles
// on the diagonal.
#include "kernels/attention/cuda/prefill_warp_mma.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 32 * kWarps;
constexpr int kStages = 2;

template <int D>
constexpr int kTileBytes = kTileKeys* D * 2;
template <int D>
constexpr int kSharedBytes = kBlockQueries* D * 2 + kStages * 2 * kTileBytes<D>;

template <int D>
__device__ void fetch_queries(const bf16* q, const BlockQueries& queries, int32_t first, uint32_t to) {
  constexpr int kChunks = D / 8;
  constexpr int kPass = kThreads / 4 / kChunks * 4;  // rows at once; D 96: 32 threads idle
  const int chunk = static_cast<int>(threadIdx.x) % kChunks;
  int query = static_cast<int>(threadIdx.x) / kChunks;
  if (query >= kPass) return;
  QueryWalk walk(queries, first + query, kPass);
#pragma unroll
  for (; query < kBlockQueries; query += kPass, walk.next()) {
    const bool valid = first + query < queries.count;
    copy_async(SwizzledTile<D>(to).at(query_row(query), chunk), q + walk.index() * D + chunk * 8, valid);
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

// A thread's share of whole pages, one after the other: what it computes for a page is one product and a sum.
template <int D>
class PageCopies {
 public:
  __device__ PageCopies(const PrefillArgs& args, int32_t head)
      : first_(static_cast<const bf16*>(args.kv.kv) +
               args.kv.tile_index(args.layer, 0, head) * (2 * kPageSlots * D) + row() * D + chunk() * 8),
        stride_(static_cast<int64_t>(args.kv.kv_heads) * (2 * kPageSlots * D)) {}

  // The page to copy next.
  __device__ void select(int32_t page) { from_ = first_ + page * stride_; }
  // K to `stage`, V behind it.
  __device__ void copy(uint32_t stage) const {
    if (kThreads % kChunks != 0 && row() >= kPass) return;
    const uint32_t to = SwizzledTile<D>(stage).at(row(), chunk());
#pragma unroll
    for (int slot = 0; slot < 2 * kPageSlots; slot += kPass)
      copy_async(to + static_cast<uint32_t>(slot * D * 2), from_ + slot * D, true);
  }

 private:
  static constexpr int kChunks = D / 8;
  static constexpr int kPass = kThreads / kChunks / 8 * 8;  // rows at once; D 96: 32 threads idle
  __device__ static int row() { return static_cast<int>(threadIdx.x) / kChunks; }
  __device__ static int chunk() { return static_cast<int>(threadIdx.x) % kChunks; }

  const bf16* first_;  // in page 0
  int64_t stride_;
  const bf16* from_ = nullptr;
};

// Goes over the keys and stores the results of the lane's `rows` (bits as of join_sums()) whose weights were
// not too large; the others' bits are returned. kRunning: with a running maximum, all of `rows` are stored;
// the queries are in shared memory already.
template <int D, bool kRunning>
__device__ __forceinline__ uint32_t attend(const PrefillArgs& args, uint32_t q_at, uint32_t rows) {
  const Row row = args.rows[blockIdx.z];
  const auto head = static_cast<int32_t>(blockIdx.y);
  const BlockQueries queries(row, args.kv.kv_heads, args.group, head);
  const auto first = static_cast<int32_t>(blockIdx.x) * kBlockQueries;
  const PrefillKeys<bf16> keys(args.kv, args.layer, row, head, static_cast<const bf16*>(args.k),
                               static_cast<const bf16*>(args.v));
  const int32_t tiles = keys.tiles((min(first + kBlockQueries, queries.count) - 1) / args.group);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_index = static_cast<int>(threadIdx.x) / 32;
  const uint32_t k_lane = SwizzledTile<D>(0).at(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  const uint32_t v_lane = SwizzledTile<D>(kTileBytes<D>).at(lane % 16, lane / 16);
  const auto stage = [&](int32_t tile) {
    return q_at + kBlockQueries * D * 2 + static_cast<uint32_t>(tile % kStages * 2 * kTileBytes<D>);
  };

  if (!kRunning) fetch_queries<D>(static_cast<const bf16*>(args.q), queries, first, q_at);
  fetch_keys<D>(keys.at(0), stage(0));
  int32_t page = keys.page(1);
  commit_copies();
  WarpQueries<D> warp(SwizzledTile<D>(q_at).at(32 * warp_index + lane % 16, lane / 16));
  int32_t t = 0;
  if (!kRunning) {  // pages before whole pages
    const int32_t pages = row.resident / kPageSlots;
    PageCopies<D> copies(args, head);
    copies.select(page);
#pragma unroll 1
    for (; t + 1 < pages; ++t) {
      page = t + 2 < pages ? keys.page(t + 2) : 0;
      wait_for_copies<0>();
      __syncthreads();  // tile t is there for all, and all have done with tile t - 1
      Scores s = {};
      warp.template products<0>(stage(t) + k_lane, s, [&] { copies.copy(stage(t + 1)); });
      commit_copies();
      copies.select(page);
      if (t == 0) warp.set_tops(s, args.scale2);
      warp.template weigh<0>(s, args.scale2);
      warp.template add_values<0>(stage(t) + v_lane, s);
    }
    page = keys.page(t + 1);
  }
#pragma unroll 1
  for (; t < tiles; ++t) {
    wait_for_copies<0>();
    __syncthreads();  // as above
    if (t + 1 < tiles) fetch_keys<D>(keys.at(t + 1, page), stage(t + 1));
    page = keys.page(t + 2);
    commit_copies();
    const KeyTile<bf16> tile = keys.at(t, 0);  // which keys: the page does not matter
    Scores s = {};
    if (!kRunning && tile.first > (first + tile_query(warp_index, 0) + 15) / args.group) {
      warp.template products<1>(stage(t) + k_lane, s, [] {});
      mask(tile, queries, first, s);
      warp.template weigh<1>(s, args.scale2);
      warp.template add_values<1>(stage(t) + v_lane, s);
      continue;
    }
    warp.template products<0>(stage(t) + k_lane, s, [] {});
    const bool seen_by_all =
        tile.first < 0 || tile.first + kTileKeys - 1 <= (first + tile_query(warp_index, 0)) / args.group;
    if (tile.count < kTileKeys || !seen_by_all) mask(tile, queries, first, s);
    if (kRunning) {
      warp.raise_tops(s, args.scale2);
    } else if (t == 0) {
      warp.set_tops(s, args.scale2);
    }
    warp.template weigh<0>(s, args.scale2);
    warp.template add_values<0>(stage(t) + v_lane, s);
  }
  const uint32_t bad = warp.join_sums();
  warp.store(args, queries, first, kRunning ? rows : rows & ~bad);
  return bad;
}

// A function of its own: it is rarely called, and shall not cost attend() registers.
template <int D>
__device__ __noinline__ void attend_again(const PrefillArgs& args, uint32_t q_at, uint32_t rows) {
  attend<D, true>(args, q_at, rows);
}

// Grid: blocks of 128 queries, KV heads, rows.
template <int D>
__global__ void __launch_bounds__(kThreads, 2) prefill_kernel(const __grid_constant__ PrefillArgs args) {
  extern __shared__ __align__(128) std::byte shared[];
  if (static_cast<int32_t>(blockIdx.x) * kBlockQueries >= args.rows[blockIdx.z].token_count * args.group)
    return;
  const uint32_t bad = attend<D, false>(args, shared_address(shared), ~0U);
  if (__syncthreads_or(bad != 0 ? 1 : 0) != 0) attend_again<D>(args, shared_address(shared), bad);
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
  const dim3 grid(static_cast<unsigned>((queries + kBlockQueries - 1) / kBlockQueries),
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
