// Prefill attention in fp32 arithmetic on CUDA cores, for fp32 on either side: the path on which backends are
// compared. A warp takes one query and goes over 32 keys at a time: a lane has a key of its own for the
// scores, and D / 32 elements of the output for the values.
#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kWarpKeys = 32;

template <int D>
struct PlainQuery {
  float top = -INFINITY;  // in units of log2
  float sum = 0;          // of this lane's keys
  float out[D / 32] = {};

  // Keys [from, from + 32) of the tile, of which those before `end` count.
  template <typename T>
  __device__ void attend(const float* query, const KeyTile<T>& tile, int32_t from, int32_t end, float scale2,
                         int lane) {
    float s = -INFINITY;
    if (from + lane < end) {
      const T* key = tile.k + (from + lane) * tile.stride;
      s = 0;
#pragma unroll 4
      for (int d = 0; d < D; d += kVec<T>) {
        float k[kVec<T>];
        to_floats(load_vec(key + d), k);
#pragma unroll
        for (int e = 0; e < kVec<T>; ++e) s = fmaf(query[d + e], k[e], s);
      }
      s *= scale2;
    }
    float most = fmaxf(top, s);
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(~0U, most, offset));
    const float shrink = exp2f(top - most);
    const float p = exp2f(s - most);
    top = most;
    sum = fmaf(sum, shrink, p);
#pragma unroll
    for (int e = 0; e < D / 32; ++e) out[e] *= shrink;
    for (int32_t j = from; j < min(from + kWarpKeys, end); ++j) {
      const float weight = __shfl_sync(~0U, p, j - from);
      const T* value = tile.v + j * tile.stride + lane;
#pragma unroll
      for (int e = 0; e < D / 32; ++e) out[e] = fmaf(weight, to_float(value[32 * e]), out[e]);
    }
  }
};

// Grid: blocks of 8 queries, KV heads, rows.
template <int D, typename Q, typename T>
__global__ void __launch_bounds__(32 * kWarps) prefill_plain_kernel(const PrefillArgs args) {
  __shared__ float shared[kWarps][D];
  const Row row = args.rows[blockIdx.z];
  const auto head = static_cast<int32_t>(blockIdx.y);
  const BlockQueries queries(row, args.kv.kv_heads, args.group, head);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int32_t query = static_cast<int32_t>(blockIdx.x) * kWarps + warp;
  if (query >= queries.count) return;
  const int64_t index = queries.index(query);
  for (int d = lane; d < D; d += 32) shared[warp][d] = to_float(static_cast<const Q*>(args.q)[index * D + d]);
  __syncwarp();

  const PrefillKeys<T> keys(args.kv, args.layer, row, head, static_cast<const T*>(args.k),
                            static_cast<const T*>(args.v));
  const int32_t token = query / args.group;
  const int32_t tiles = keys.tiles(token);
  PlainQuery<D> state;
  for (int32_t t = 0; t < tiles; ++t) {
    const KeyTile<T> tile = keys.at(t);
    const int32_t end = tile.first < 0 ? tile.count : min(kTileKeys, token - tile.first + 1);
    for (int32_t from = 0; from < end; from += kWarpKeys) {
      state.attend(shared[warp], tile, from, end, args.scale2, lane);
    }
  }
  const float sum = warp_sum(state.sum);
#pragma unroll
  for (int e = 0; e < D / 32; ++e) {
    static_cast<Q*>(args.out)[index * D + lane + 32 * e] = from_float<Q>(state.out[e] / sum);
  }
  if (lane == 0) args.lse[index] = kLn2 * (state.top + log2f(sum));
}

template <int D>
void launch(cudaStream_t stream, const PrefillArgs& args, dim3 grid, DType q_type) {
  on_float_type(q_type, [&](auto q) {
    on_float_type(args.kv.dtype, [&](auto key) {
      prefill_plain_kernel<D, decltype(q), decltype(key)><<<grid, 32 * kWarps, 0, stream>>>(args);
    });
  });
  check_launch("prefill_attention");
}

}  // namespace

void prefill_attention_plain(cudaStream_t stream, const PrefillArgs& args, int32_t rows, int32_t queries,
                             DType q_type) {
  const dim3 grid(static_cast<unsigned>((queries + kWarps - 1) / kWarps),
                  static_cast<unsigned>(args.kv.kv_heads), static_cast<unsigned>(rows));
  switch (args.kv.head_dim) {
    case 64:
      return launch<64>(stream, args, grid, q_type);
    case 96:
      return launch<96>(stream, args, grid, q_type);
    default:
      return launch<128>(stream, args, grid, q_type);
  }
}

}  // namespace batchmax::kernels::cuda
