// Mass of a prefill block: the keys stay, the queries pass. mass_j += Σ_i 2^(s_ij − lse2_i): every key's sum
// is formed by one thread block in one order and added once. (On Hopper: once for every 256 queries.)
//
// A thread block takes 128 keys of a (row, KV head): resident slots, or the block's own tokens, for which
// only later queries count. bf16 on both sides: tensor cores (Hopper has its own way to them:
// prefill_mass_wgmma.cu); each of 4 warps holds 32 keys in registers (as A of the product) while tiles of 64
// queries pass through shared memory. Else fp32: a thread has a key, and all read the same query. Work: 2 · D
// operations and one exponential for each pair. Bytes: the keys once, the queries once for 128 keys.
#include <algorithm>

#include "kernels/attention/backends.h"
#include "kernels/attention/cuda/attention.h"
#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/attention/cuda/prefill_mass.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kWarpKeys = 32;
constexpr int kKeys = kWarps * kWarpKeys;  // of a thread block: two tiles
constexpr int kTileQueries = 64;

// The keys of a thread block: `first`.. of the resident slots or of the block's tokens.
struct Span {
  bool resident;
  int32_t first;
  int32_t count;

  __device__ Span(const Row& row, int32_t block) {
    const int32_t resident_blocks = (row.resident + kKeys - 1) / kKeys;
    resident = block < resident_blocks;
    first = (resident ? block : block - resident_blocks) * kKeys;
    count = min(kKeys, (resident ? row.resident : row.token_count) - first);
  }
  // The tile of PrefillKeys that holds key first + 64 · i; it exists where 64 · i < count.
  template <typename T>
  __device__ KeyTile<T> tile(const PrefillKeys<T>& keys, int i) const {
    return keys.at((resident ? 0 : keys.resident_tiles()) + first / kTileKeys + i);
  }
  // The first query that gives to one of them.
  __device__ int32_t first_query(int32_t group) const { return resident ? 0 : (first + 1) * group; }
};

__device__ void add_mass(const MassArgs& args, const Row& row, int32_t head, const Span& span, int32_t key,
                         float mass) {
  if (key >= span.count) return;
  const int32_t at = span.first + key;
  if (!span.resident) {
    args.mass_new[static_cast<int64_t>(row.token_begin + at) * args.kv.kv_heads + head] = mass;
    return;
  }
  const int32_t* pages = args.kv.page_tables + static_cast<int64_t>(row.sequence) * args.kv.table_stride;
  const size_t tile = args.kv.tile_index(args.layer, pages[at / kPageSlots], head);
  args.kv.mass[tile * kPageSlots + static_cast<size_t>(at % kPageSlots)] += mass;
}

// Two tiles of 64 rows at `to`; zeros past the valid keys.
template <int D>
__device__ void fetch_keys(const PrefillKeys<bf16>& keys, const Span& span, uint32_t to) {
  constexpr int kChunks = D / 8;
  for (int half = 0; half < kKeys / kTileKeys; ++half) {
    const int32_t count = span.count - half * kTileKeys;
    const KeyTile<bf16> tile = span.tile(keys, count > 0 ? half : 0);
#pragma unroll
    for (int i = 0; i < kTileKeys * kChunks / kThreads; ++i) {
      const int index = static_cast<int>(threadIdx.x) + kThreads * i;
      const int row = index / kChunks;
      const bool valid = row < count;
      copy_async(SwizzledTile<D>(to).at(half * kTileKeys + row, index % kChunks),
                 tile.k + (valid ? row : 0) * tile.stride + index % kChunks * 8, valid);
    }
  }
}

// Queries first..+63 at `to`, and their lse in units of log2; +inf where there is none: its weights are 0.
template <int D>
__device__ void fetch_queries(const MassArgs& args, const BlockQueries& queries, int32_t first, uint32_t to,
                              float* lse2) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < kTileQueries * kChunks / kThreads; ++i) {
    const int index = static_cast<int>(threadIdx.x) + kThreads * i;
    const int32_t query = first + index / kChunks;
    const bool valid = query < queries.count;
    const bf16* from = static_cast<const bf16*>(args.q) + queries.index(valid ? query : 0) * D;
    copy_async(SwizzledTile<D>(to).at(index / kChunks, index % kChunks), from + index % kChunks * 8, valid);
  }
  if (threadIdx.x < kTileQueries) {
    const int32_t query = first + static_cast<int32_t>(threadIdx.x);
    lse2[threadIdx.x] = query < queries.count ? args.lse[queries.index(query)] * kLog2E : INFINITY;
  }
}

// What one tile of queries gives to the warp's 32 keys; sums[tile][half]: keys 16 · tile + 8 · half + lane /
// 4, of this lane's queries. A query gives to key j of the warp if it is number first_giver[tile][half] or
// later.
template <int D>
__device__ void receive(const uint32_t (&k)[2][D / 16][4], uint32_t q_at, const float* lse2,
                        int32_t first_query, const int32_t (&first_giver)[2][2], float scale2, int lane,
                        float (&sums)[2][2]) {
  const SwizzledTile<D> q(q_at);
#pragma unroll
  for (int n = 0; n < kTileQueries / 16; ++n) {
    float s[2][2][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t b[4];
      q.load_b(b, 16 * n, step, lane);
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        mma(s[t][0], k[t][step], b[0], b[1]);
        mma(s[t][1], k[t][step], b[2], b[3]);
      }
    }
#pragma unroll
    for (int half_n = 0; half_n < 2; ++half_n) {
      const int column = 16 * n + 8 * half_n + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float offset = lse2[column + i];
        const int32_t query = first_query + column + i;
#pragma unroll
        for (int t = 0; t < 2; ++t) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const float p = exp2_fast(fmaf(s[t][half_n][2 * half + i], scale2, -offset));
            sums[t][half] += query >= first_giver[t][half] ? p : 0;
          }
        }
      }
    }
  }
}

template <int D>
constexpr int kSharedBytes = (kKeys + 2 * kTileQueries) * D * 2 + 2 * kTileQueries * 4;

// Grid: blocks of 128 keys, KV heads, rows.
template <int D>
__global__ void __launch_bounds__(kThreads, 3) mass_mma_kernel(const MassArgs args) {
  extern __shared__ __align__(128) std::byte shared[];
  const Row row = args.rows[blockIdx.z];
  const auto head = static_cast<int32_t>(blockIdx.y);
  const Span span(row, static_cast<int32_t>(blockIdx.x));
  if (span.count <= 0) return;
  const BlockQueries queries(row, args.kv.kv_heads, args.group, head);
  const PrefillKeys<bf16> keys(args.kv, args.layer, row, head, static_cast<const bf16*>(args.k), nullptr);
  const uint32_t k_at = shared_address(shared);
  const uint32_t ring = k_at + kKeys * D * 2;
  float* lse2 = reinterpret_cast<float*>(shared + (kKeys + 2 * kTileQueries) * D * 2);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_key = static_cast<int>(threadIdx.x) / 32 * kWarpKeys;

  const int32_t begin = span.first_query(args.group) / kTileQueries * kTileQueries;
  fetch_keys<D>(keys, span, k_at);
  fetch_queries<D>(args, queries, begin, ring, lse2);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  uint32_t k[2][D / 16][4];
  int32_t first_giver[2][2];
  float sums[2][2] = {};
#pragma unroll
  for (int t = 0; t < 2; ++t) {
#pragma unroll
    for (int step = 0; step < D / 16; ++step)
      SwizzledTile<D>(k_at).load_a(k[t][step], warp_key + 16 * t, step, lane);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t key = span.first + warp_key + 16 * t + 8 * half + lane / 4;
      first_giver[t][half] = span.resident ? 0 : (key + 1) * args.group;
    }
  }

  int stage = 0;
  for (int32_t first = begin; first < queries.count; first += kTileQueries, stage ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // this tile is there for all, and all have done with the one before
    if (first + kTileQueries < queries.count) {
      fetch_queries<D>(args, queries, first + kTileQueries, ring + (stage ^ 1) * (kTileQueries * D * 2),
                       lse2 + (stage ^ 1) * kTileQueries);
    }
    commit_copies();
    receive<D>(k, ring + stage * (kTileQueries * D * 2), lse2 + stage * kTileQueries, first, first_giver,
               args.scale2, lane, sums);
  }
#pragma unroll
  for (int t = 0; t < 2; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sums[t][half];
      sum += __shfl_xor_sync(~0U, sum, 1);
      sum += __shfl_xor_sync(~0U, sum, 2);
      if (lane % 4 == 0) add_mass(args, row, head, span, warp_key + 16 * t + 8 * half + lane / 4, sum);
    }
  }
}

// Grid as above; thread t has key t. Queries pass in chunks through shared memory.
template <int D, typename Q, typename T>
__global__ void __launch_bounds__(kThreads) mass_plain_kernel(const MassArgs args) {
  constexpr int kChunk = 16;  // queries at a time
  __shared__ float shared[kChunk][D];
  __shared__ float lse2[kChunk];
  const Row row = args.rows[blockIdx.z];
  const auto head = static_cast<int32_t>(blockIdx.y);
  const Span span(row, static_cast<int32_t>(blockIdx.x));
  if (span.count <= 0) return;
  const BlockQueries queries(row, args.kv.kv_heads, args.group, head);
  const PrefillKeys<T> keys(args.kv, args.layer, row, head, static_cast<const T*>(args.k), nullptr);
  const int32_t key = min(static_cast<int32_t>(threadIdx.x), span.count - 1);
  const KeyTile<T> tile = span.tile(keys, key / kTileKeys);
  const T* own = tile.k + key % kTileKeys * tile.stride;
  const int32_t first_giver = span.resident ? 0 : (span.first + key + 1) * args.group;
  float sum = 0;
  for (int32_t first = span.first_query(args.group); first < queries.count; first += kChunk) {
    const int32_t count = min(kChunk, queries.count - first);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count * D; i += kThreads) {
      shared[i / D][i % D] =
          to_float(static_cast<const Q*>(args.q)[queries.index(first + i / D) * D + i % D]);
    }
    if (threadIdx.x < count) lse2[threadIdx.x] = args.lse[queries.index(first + threadIdx.x)] * kLog2E;
    __syncthreads();
    float s[kChunk] = {};
    for (int d = 0; d < D; d += kVec<T>) {
      float k[kVec<T>];
      to_floats(load_vec(own + d), k);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
#pragma unroll
        for (int e = 0; e < kVec<T>; ++e) s[i] = fmaf(shared[i][d + e], k[e], s[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (i < count && first + i >= first_giver) sum += exp2f(fmaf(s[i], args.scale2, -lse2[i]));
    }
  }
  add_mass(args, row, head, span, static_cast<int32_t>(threadIdx.x), sum);
}

template <int D>
void launch(cudaStream_t stream, const MassArgs& args, dim3 grid, DType q_type) {
  if (q_type == DType::bf16 && args.kv.dtype == DType::bf16) {
    check(cudaFuncSetAttribute(mass_mma_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               kSharedBytes<D>),
          "cudaFuncSetAttribute");
    mass_mma_kernel<D><<<grid, kThreads, kSharedBytes<D>, stream>>>(args);
  } else {
    on_float_type(q_type, [&](auto q) {
      on_float_type(args.kv.dtype, [&](auto key) {
        mass_plain_kernel<D, decltype(q), decltype(key)><<<grid, kThreads, 0, stream>>>(args);
      });
    });
  }
  check_launch("prefill_mass");
}

void prefill_mass(const Stream& stream, const PrefillMass& of, bool warpgroups) {
  if (of.rows.count == 0) return;
  MassArgs args{};
  args.q = of.q.data();
  args.k = of.k.data();
  args.lse = of.lse.as<float>();
  args.mass_new = of.mass_new.as<float>();
  args.kv = of.kv;
  args.rows = of.rows.data;
  args.layer = of.layer;
  args.group = static_cast<int32_t>(of.q.dim(1)) / of.kv.kv_heads;
  args.scale2 = of.scale * kLog2E;
  // The most that a row has of `keys` keys each.
  const auto most = [&of](int32_t keys) {
    int32_t most = 0;
    for (int32_t r = 0; r < of.rows.count; ++r) {
      const Row& row = of.rows.host[r];
      most = std::max(most, (row.resident + keys - 1) / keys + (row.token_count + keys - 1) / keys);
    }
    return most;
  };
  cudaStream_t on = stream_of(stream);
  if (warpgroups && of.q.dtype() == DType::bf16 && of.kv.dtype == DType::bf16) {
    int multiprocessors = 0;
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, stream.device()),
          "cudaDeviceGetAttribute");
    return prefill_mass_wgmma(on, args, of.k.dim(0), of.rows.count, most(kTileKeys), multiprocessors);
  }
  const dim3 grid(static_cast<unsigned>(most(kKeys)), static_cast<unsigned>(of.kv.kv_heads),
                  static_cast<unsigned>(of.rows.count));
  switch (of.kv.head_dim) {
    case 64:
      return launch<64>(on, args, grid, of.q.dtype());
    case 96:
      return launch<96>(on, args, grid, of.q.dtype());
    default:
      return launch<128>(on, args, grid, of.q.dtype());
  }
}

}  // namespace

void prefill_mass(const Stream& stream, const PrefillMass& args) {
  prefill_mass(stream, args, has_warpgroup_products(stream.device()));
}

void prefill_mass_mma_sync(const Stream& stream, const PrefillMass& args) {
  prefill_mass(stream, args, false);
}

}  // namespace batchmax::kernels::cuda
