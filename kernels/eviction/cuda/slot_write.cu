// Copies of K and V rows by 16-byte vectors: 4 · head_dim elements moved per written slot and head, 8 bytes
// of pos and mass, and 4 of what says where. Tokens that are dropped cost those 4 alone. A thread block first
// finds the places of some slots, a thread each: three loads that wait for one another. Then its warps copy a
// slot each, all of theirs at a time.
//
// No copy overwrites what another still reads, in any order:
//   append, replace   read the staging buffers and write the cache. Two tokens never share a slot: append
//                     counts up from row.resident, and select_keep gives each survivor a slot of its own.
//   compact           reads slots from row.keep on and writes slots below; again one each.
// Pages belong to one sequence, so rows do not meet.
#include <algorithm>

#include "kernels/core/cuda/check.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/cuda/candidates.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kItems = 64;              // slots of a thread block at a time
constexpr int kEach = kItems / kWarps;  // of a warp: 128 bytes in flight per lane

// The tokens of one row and where they come from.
struct Staged {
  const uint4* k;
  const uint4* v;
  const float* mass;  // nullptr: 0
};

enum class From : uint8_t { append, replace, compact };

struct Args {
  KvView kv;
  int32_t layer;
  const Row* rows;
  Staged staged;
  const int32_t* slots;  // append: queues, or nullptr; else dest
  int32_t depth;         // decode_block of the queues
  int32_t row_vectors;   // of 16 bytes in a row of K
};

// Slot `slot` of one (layer, sequence, head).
struct Place {
  size_t vector;  // of its K in kv; that of its V lies 64 · row_vectors further
  size_t state;

  Place() = default;
  __device__ Place(const Args& args, const Row& row, int32_t head, int32_t slot) {
    const int64_t entry = static_cast<int64_t>(row.sequence) * args.kv.table_stride + slot / kPageSlots;
    const size_t tile = args.kv.tile_index(args.layer, args.kv.page_tables[entry], head);
    const auto offset = static_cast<size_t>(slot % kPageSlots);
    vector = (tile * 2 * kPageSlots + offset) * static_cast<size_t>(args.row_vectors);
    state = tile * kPageSlots + offset;
  }
};

// Where token i of the row goes; -1: nowhere.
template <From kFrom>
__device__ int32_t slot_of(const Args& args, const Row& row, int64_t first_entry, int32_t i, int32_t head) {
  if constexpr (kFrom == From::append) {
    if (row.queue_index < 0) return row.resident + i;
    const int64_t queue =
        (static_cast<int64_t>(row.sequence) * args.kv.layers + args.layer) * args.kv.kv_heads + head;
    return args.slots[queue * args.depth + row.queue_index];
  } else {
    return args.slots[(first_entry + i) * args.kv.kv_heads + head];
  }
}

// Of one (token, head): where the vectors of K lie, in what they are read from and in the cache.
struct Copy {
  size_t from;
  size_t to;
  bool wanted;
};

// Finds what is to be copied for `item`, over (token, head) of the row, and writes pos and mass.
template <From kFrom>
__device__ Copy prepare(const Args& args, const Row& row, int64_t first_entry, int32_t item) {
  const int32_t token = item / args.kv.kv_heads;
  const int32_t head = item % args.kv.kv_heads;
  const int32_t slot = slot_of<kFrom>(args, row, first_entry, token, head);
  if (slot < 0) return {0, 0, false};
  const Place to(args, row, head, slot);
  if constexpr (kFrom == From::compact) {
    const Place from(args, row, head, row.keep + token);
    args.kv.pos[to.state] = args.kv.pos[from.state];
    args.kv.mass[to.state] = args.kv.mass[from.state];
    return {from.vector, to.vector, true};
  } else {
    const auto staged = static_cast<size_t>(row.token_begin + token) * static_cast<size_t>(args.kv.kv_heads) +
                        static_cast<size_t>(head);
    args.kv.pos[to.state] = row.position + token;
    args.kv.mass[to.state] = args.staged.mass == nullptr ? 0.0F : args.staged.mass[staged];
    return {staged * static_cast<size_t>(args.row_vectors), to.vector, true};
  }
}

// Part `part` of the vectors of K and V of copies [warp, warp + kWarps, ...).
template <From kFrom>
__device__ void copy_part(const Args& args, const Copy (&copies)[kItems], int32_t part) {
  const bool is_v = part >= args.row_vectors;
  const auto within = static_cast<size_t>(is_v ? part - args.row_vectors : part);
  const size_t apart = is_v ? static_cast<size_t>(kPageSlots * args.row_vectors) : 0;
  auto* cache = static_cast<uint4*>(args.kv.kv) + within + apart;
  const uint4* source = kFrom == From::compact ? cache : (is_v ? args.staged.v : args.staged.k) + within;
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32;
  uint4 vectors[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const Copy& copy = copies[warp + e * kWarps];
    if (copy.wanted) vectors[e] = source[copy.from];
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const Copy& copy = copies[warp + e * kWarps];
    if (copy.wanted) cache[copy.to] = vectors[e];
  }
}

// Grid: blocks that share a row's copies, rows.
template <From kFrom>
__global__ void __launch_bounds__(kThreads) write_kernel(const Args args) {
  __shared__ Copy copies[kItems];
  const Row row = args.rows[blockIdx.y];  // a copy: stores to the cache might else change it
  if (row.sequence == kNoSequence) return;
  int64_t first_entry = row.token_begin;
  int32_t tokens = row.token_count;
  if constexpr (kFrom == From::compact) {
    first_entry = tail_entry(args.rows, static_cast<int32_t>(blockIdx.y));
    tokens = tail_surplus(row);
  }
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t items = tokens * args.kv.kv_heads;
  for (auto begin = static_cast<int32_t>(blockIdx.x) * kItems; begin < items;
       begin += static_cast<int32_t>(gridDim.x) * kItems) {
    if (thread < kItems) {
      copies[thread] =
          begin + thread < items ? prepare<kFrom>(args, row, first_entry, begin + thread) : Copy{0, 0, false};
    }
    __syncthreads();
    for (int32_t part = thread % 32; part < 2 * args.row_vectors; part += 32)
      copy_part<kFrom>(args, copies, part);
    __syncthreads();
  }
}

// tokens: of all rows together, from shapes. Rows of different lengths share them unevenly: blocks loop.
template <From kFrom>
void launch(const Stream& stream, Args args, const Rows& rows, int64_t tokens) {
  if (rows.count == 0) return;
  const KvView& kv = args.kv;
  const int64_t row_bytes = static_cast<int64_t>(kv.head_dim) * static_cast<int64_t>(size_of(kv.dtype));
  CHECK_EQ(row_bytes % 16, 0);
  args.row_vectors = static_cast<int32_t>(row_bytes / 16);
  args.rows = rows.data;
  const int64_t items = ceil_div(tokens, rows.count) * kv.kv_heads;
  constexpr int64_t kMostBlocks = 512;  // to a row
  const int64_t blocks = std::clamp<int64_t>(ceil_div(items, kItems), 1, kMostBlocks);
  write_kernel<kFrom><<<dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(rows.count)), kThreads, 0,
                        stream_of(stream)>>>(args);
}

Staged staged_of(const NewTokens& tokens) {
  return {static_cast<const uint4*>(tokens.k.data()), static_cast<const uint4*>(tokens.v.data()),
          tokens.mass_new ? tokens.mass_new.as<float>() : nullptr};
}

}  // namespace

void append_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                  const NewTokens& tokens, const Tensor& queues) {
  const int32_t depth = queues ? static_cast<int32_t>(queues.dim(3)) : 0;
  launch<From::append>(
      stream, {kv, layer, nullptr, staged_of(tokens), queues ? queues.as<int32_t>() : nullptr, depth, 0},
      rows, tokens.k.dim(0));
  check_launch("append_slots");
}

void replace_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const NewTokens& tokens, const Tensor& dest) {
  launch<From::replace>(stream, {kv, layer, nullptr, staged_of(tokens), dest.as<int32_t>(), 0, 0}, rows,
                        tokens.k.dim(0));
  check_launch("replace_slots");
}

void compact_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const Tensor& dest) {
  launch<From::compact>(stream, {kv, layer, nullptr, {}, dest.as<int32_t>(), 0, 0}, rows, dest.dim(0));
  check_launch("compact_slots");
}

}  // namespace batchmax::kernels::cuda
