// Decode attention: a thread block takes one (row, KV head), or one piece of its slots, for all query heads
// of the group.
//
//   s_j = q·k_j · scale · log2 e     out = Σ_j 2^(s_j − top) v_j / Σ_j 2^(s_j − top)     mass_j += Σ_g 2^(s_j
//   − lse2)
//
// Each page's 64 slots are shared out to the block's 4 warps, which go through a piece of the row on their
// own (decode_warp_*.h); then the block adds up its warps and joins the piece to those before it
// (decode_pieces.h). Bytes moved: K and V once; with mass 4 (pos) + 8 (mass) for each slot, and the scores
// stay in shared memory, 4 bytes for each slot and query head. Where they do not fit, K is read a second
// time.
//
// Whole rows where that gives the device enough blocks, else a block for each piece and a second kernel that
// joins the results: the bits are the same. The choice and the geometry depend on the number of rows and the
// width of the page tables, never on what the rows hold: a captured launch serves other rows. Rows with
// sequence -1 are skipped.
#include "kernels/attention/decode_attention.h"

#include <algorithm>

#include "kernels/attention/backends.h"
#include "kernels/attention/cuda/attention.h"
#include "kernels/attention/cuda/decode_warp_mma.h"
#include "kernels/attention/cuda/decode_warp_plain.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

// With fewer (row, KV head) than this, rows are cut: two blocks for each multiprocessor of an H100.
constexpr int64_t kWholeFrom = 256;
// Shared memory of a block with scores: two blocks on each multiprocessor of an H100.
constexpr int64_t kMostShared = 112 << 10;

struct Args {
  const void* q;
  void* out;
  KvView kv;
  const Row* rows;
  float* partials;  // [rows][Hq][kMaxPieces][partial_floats]
  int32_t layer;
  int32_t group;
  float scale2;
  int32_t score_slots;  // room for scores, in slots
};

// Shared memory of a block besides the warps': what each has summed, and the scores.
template <int D>
constexpr int64_t merge_bytes(int group) {
  return static_cast<int64_t>(kDecodeWarps) * group * (D + 2) * 4 + kMaxGroup * 4;
}

// The block's elements of the output: thread t has elements t, t + 128, … of [group][D].
template <int D>
constexpr int kElements = (kMaxGroup * D + kDecodeThreads - 1) / kDecodeThreads;

// Adds the warps' results for the piece, and the piece to what came before.
template <int D, typename Warp>
__device__ void join_warps(Warp& warp, int group, float* merge, Partial (&row)[kElements<D>]) {
  float* stats = merge + kDecodeWarps * group * D;
  const int index = static_cast<int>(threadIdx.x) / 32;
  warp.store(merge + index * group * D, stats + index * group * 2);
  __syncthreads();
#pragma unroll
  for (int e = 0; e < kElements<D>; ++e) {
    const int element = static_cast<int>(threadIdx.x) + e * kDecodeThreads;
    if (element >= group * D) break;
    Partial piece;  // warp 0 has a slot of every piece
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float* stat = stats + (w * group + element / D) * 2;
      piece.add({stat[0], stat[1], merge[w * group * D + element]});
    }
    row[e].add(piece);
  }
  __syncthreads();
}

template <int D, typename Q>
__device__ void store_out(const Args& args, const Row& row, int32_t first_head,
                          const Partial (&of)[kElements<D>]) {
  const int64_t heads = static_cast<int64_t>(args.kv.kv_heads) * args.group;
  Q* out = static_cast<Q*>(args.out) + (row.token_begin * heads + first_head) * D;
#pragma unroll
  for (int e = 0; e < kElements<D>; ++e) {
    const int element = static_cast<int>(threadIdx.x) + e * kDecodeThreads;
    if (element < args.group * D) out[element] = from_float<Q>(__fmul_rn(of[e].out, __frcp_rn(of[e].sum)));
  }
}

template <int D>
__device__ void store_partial(const Args& args, int32_t piece, int32_t first_head,
                              const Partial (&of)[kElements<D>]) {
  const int64_t heads = static_cast<int64_t>(args.kv.kv_heads) * args.group;
#pragma unroll
  for (int e = 0; e < kElements<D>; ++e) {
    const int element = static_cast<int>(threadIdx.x) + e * kDecodeThreads;
    if (element >= args.group * D) break;
    const int64_t index = (blockIdx.y * heads + first_head + element / D) * kMaxPieces + piece;
    float* to = args.partials + index * partial_floats(D);
    to[element % D] = of[e].out;
    if (element % D == 0) {
      to[D] = of[e].top;
      to[D + 1] = of[e].sum;
    }
  }
}

// mass[slot] += Σ_g p for the whole row, from the scores where they are kept, else from K again.
template <int D, typename Warp>
__device__ void add_mass(const Args& args, const Row& row, Warp& warp, const int32_t* pages,
                         int64_t head_tile, const float* scores, float* lse2,
                         const Partial (&of)[kElements<D>]) {
#pragma unroll
  for (int e = 0; e < kElements<D>; ++e) {
    const int element = static_cast<int>(threadIdx.x) + e * kDecodeThreads;
    if (element < args.group * D && element % D == 0) lse2[element / D] = of[e].top + log2f(of[e].sum);
  }
  __syncthreads();
  const int32_t slots = decode_slots(row);
  const auto state_at = [&](int32_t slot) {
    const int64_t tile = head_tile + static_cast<int64_t>(pages[slot / kPageSlots]) * args.kv.kv_heads;
    return tile * kPageSlots + slot % kPageSlots;
  };
  if (scores == nullptr) {
    warp.begin(0, slots, false);
    warp.probabilities(0, slots, lse2, [&](int32_t slot, float p) {
      const int64_t at = state_at(slot);
      if (args.kv.pos[at] != row.position) args.kv.mass[at] += p;
    });
    return;
  }
  // All loads of 8 slots at once: each waits for device memory.
  constexpr int kBatch = 8;
  for (int32_t first = static_cast<int32_t>(threadIdx.x); first < slots; first += kBatch * kDecodeThreads) {
    int32_t pos[kBatch];
    float mass[kBatch];
    int64_t at[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t slot = min(first + i * kDecodeThreads, slots - 1);
      at[i] = state_at(slot);
      pos[i] = args.kv.pos[at[i]];
      mass[i] = args.kv.mass[at[i]];
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t slot = first + i * kDecodeThreads;
      if (slot >= slots || pos[i] == row.position) continue;
      float p = 0;
      for (int g = 0; g < args.group; ++g) {
        p += exp2_fast(__fmaf_rn(scores[g * args.score_slots + slot], args.scale2, -lse2[g]));
      }
      args.kv.mass[at[i]] = mass[i] + p;
    }
  }
}

// What add_mass() will read, on its way to the L2 cache: lines of 32 slots.
__device__ void prefetch_state(const Args& args, const int32_t* pages, int64_t head_tile, int32_t slots) {
  for (int32_t slot = 32 * static_cast<int32_t>(threadIdx.x); slot < slots; slot += 32 * kDecodeThreads) {
    const int64_t tile = head_tile + static_cast<int64_t>(pages[slot / kPageSlots]) * args.kv.kv_heads;
    const int64_t at = tile * kPageSlots + slot % kPageSlots;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(args.kv.pos + at));
    asm volatile("prefetch.global.L2 [%0];" ::"l"(args.kv.mass + at));
  }
}

// Grid: KV heads, rows, and with kSplit pieces.
template <int D, typename Warp, bool kMass, bool kSplit>
__global__ void __launch_bounds__(kDecodeThreads) decode_kernel(const Args args) {
  using Key = typename Warp::Key;
  using Query = typename Warp::Query;
  extern __shared__ __align__(128) std::byte shared[];
  const Row row = args.rows[blockIdx.y];
  if (row.sequence < 0) return;
  const int32_t slots = decode_slots(row);
  const int32_t step = piece_slots(slots);
  const auto piece = static_cast<int32_t>(blockIdx.z);
  if (kSplit && piece * step >= slots) return;

  const auto head = static_cast<int32_t>(blockIdx.x);
  const int32_t first_head = head * args.group;
  const int64_t heads = static_cast<int64_t>(args.kv.kv_heads) * args.group;
  const int32_t* pages = args.kv.page_tables + static_cast<int64_t>(row.sequence) * args.kv.table_stride;
  const auto head_tile = static_cast<int64_t>(args.kv.tile_index(args.layer, 0, head));
  constexpr int64_t kTile = 2 * kPageSlots * D;
  float* merge = reinterpret_cast<float*>(shared + Warp::kSharedBytes);
  float* lse2 = merge + kDecodeWarps * args.group * (D + 2);
  float* scores = kMass && slots <= args.score_slots ? lse2 + kMaxGroup : nullptr;

  Warp warp(static_cast<const Query*>(args.q) + (row.token_begin * heads + first_head) * D, args.group,
            static_cast<const Key*>(args.kv.kv) + head_tile * kTile, args.kv.kv_heads * kTile, pages, slots,
            args.scale2, shared);
  const int32_t begin = kSplit ? piece * step : 0;
  const int32_t end = kSplit ? min(begin + step, slots) : slots;
  warp.begin(begin, end, true);
  Partial of[kElements<D>];
  for (int32_t at = begin; at < end; at += step) {
    warp.attend(at, min(at + step, end), scores, args.score_slots);
    if (kMass && at + step >= end && scores != nullptr) prefetch_state(args, pages, head_tile, slots);
    join_warps<D>(warp, args.group, merge, of);
  }
  if (kSplit && slots > step) {
    store_partial<D>(args, piece, first_head, of);
  } else {
    store_out<D, Query>(args, row, first_head, of);
  }
  if constexpr (kMass) add_mass<D>(args, row, warp, pages, head_tile, scores, lse2, of);
}

// Joins the pieces of a (row, query head) where there are several. Grid: query heads, rows. Block: D.
template <int D, typename Q>
__global__ void join_pieces(const Args args) {
  const Row row = args.rows[blockIdx.y];
  if (row.sequence < 0) return;
  const int32_t pieces = piece_count(decode_slots(row));
  if (pieces == 1) return;
  const int64_t query = static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
  const float* from = args.partials + query * kMaxPieces * partial_floats(D);
  Partial of;
  for (int32_t piece = 0; piece < pieces; ++piece, from += partial_floats(D)) {
    of.add({from[D], from[D + 1], from[threadIdx.x]});
  }
  Q* out = static_cast<Q*>(args.out) + (static_cast<int64_t>(row.token_begin) * gridDim.x + blockIdx.x) * D;
  out[threadIdx.x] = from_float<Q>(__fmul_rn(of.out, __frcp_rn(of.sum)));
}

template <int D, typename Warp, bool kMass, bool kSplit>
void launch_kernel(cudaStream_t stream, Args& args, dim3 grid) {
  const int64_t fixed = Warp::kSharedBytes + merge_bytes<D>(args.group);
  const int64_t for_scores = kMass ? (kMostShared - fixed) / (args.group * 4) / kPageSlots * kPageSlots : 0;
  args.score_slots = static_cast<int32_t>(
      std::min<int64_t>(for_scores, static_cast<int64_t>(args.kv.table_stride) * kPageSlots));
  const auto bytes = static_cast<int>(fixed + static_cast<int64_t>(args.score_slots) * args.group * 4);
  const auto kernel = decode_kernel<D, Warp, kMass, kSplit>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kMostShared)),
        "cudaFuncSetAttribute");
  kernel<<<grid, kDecodeThreads, static_cast<size_t>(bytes), stream>>>(args);
  check_launch("decode_attention");
}

template <int D, typename Warp>
void launch(cudaStream_t stream, Args& args, int32_t rows, bool with_mass, DecodeCut cut) {
  const auto kv_heads = static_cast<unsigned>(args.kv.kv_heads);
  const auto query_heads = kv_heads * static_cast<unsigned>(args.group);
  const auto count = static_cast<unsigned>(rows);
  if (with_mass) {
    launch_kernel<D, Warp, true, false>(stream, args, dim3(kv_heads, count));
  } else if (cut == DecodeCut::whole || piece_count(args.kv.table_stride * kPageSlots) == 1) {
    launch_kernel<D, Warp, false, false>(stream, args, dim3(kv_heads, count));
  } else {
    const int32_t most =
        std::min(kMaxPieces, (args.kv.table_stride * kPageSlots + kLeastPiece - 1) / kLeastPiece);
    launch_kernel<D, Warp, false, true>(stream, args, dim3(kv_heads, count, static_cast<unsigned>(most)));
    join_pieces<D, typename Warp::Query><<<dim3(query_heads, count), D, 0, stream>>>(args);
    check_launch("decode_attention's join");
  }
}

template <int D>
void launch(cudaStream_t stream, const DecodeAttention& of, Args& args, bool with_mass, DecodeCut cut) {
  const int32_t rows = of.rows.count;
  if (of.q.dtype() == DType::bf16 && of.kv.dtype == DType::bf16) {
    launch<D, DecodeWarpMma<D>>(stream, args, rows, with_mass, cut);
  } else if (of.q.dtype() == DType::bf16) {
    launch<D, DecodeWarpPlain<D, bf16, float>>(stream, args, rows, with_mass, cut);
  } else if (of.kv.dtype == DType::bf16) {
    launch<D, DecodeWarpPlain<D, float, bf16>>(stream, args, rows, with_mass, cut);
  } else {
    launch<D, DecodeWarpPlain<D, float, float>>(stream, args, rows, with_mass, cut);
  }
}

}  // namespace

void decode_attention(const Stream& stream, const DecodeAttention& of, bool with_mass, DecodeCut cut) {
  if (of.rows.count == 0) return;
  const auto query_heads = static_cast<int32_t>(of.q.dim(1));
  Args args{};
  args.q = of.q.data();
  args.out = of.out.data();
  args.kv = of.kv;
  args.rows = of.rows.data;
  args.partials = static_cast<float*>(of.workspace.data());
  args.layer = of.layer;
  args.group = query_heads / of.kv.kv_heads;
  args.scale2 = of.scale * kLog2E;
  cudaStream_t on = stream_of(stream);
  switch (of.kv.head_dim) {
    case 64:
      return launch<64>(on, of, args, with_mass, cut);
    case 96:
      return launch<96>(on, of, args, with_mass, cut);
    default:
      return launch<128>(on, of, args, with_mass, cut);
  }
}

void decode_attention(const Stream& stream, const DecodeAttention& args) {
  const bool whole = static_cast<int64_t>(args.rows.count) * args.kv.kv_heads >= kWholeFrom;
  decode_attention(stream, args, false, whole ? DecodeCut::whole : DecodeCut::pieces);
}

void decode_attention_mass(const Stream& stream, const DecodeAttention& args) {
  decode_attention(stream, args, true, DecodeCut::whole);
}

size_t decode_workspace_bytes(const Stream&, int64_t rows, int64_t query_heads, int64_t head_dim) {
  return static_cast<size_t>(std::min(rows * query_heads, kWholeFrom * kMaxGroup) * kMaxPieces *
                             partial_floats(head_dim)) *
         sizeof(float);
}

}  // namespace batchmax::kernels::cuda
