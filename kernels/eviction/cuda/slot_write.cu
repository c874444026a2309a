// Copies of K and V rows by 16-byte vectors, four in flight per thread: 4 · head_dim elements moved per
// written slot and head, 8 bytes of pos and mass, and 4 of what says where. Tokens that are dropped cost
// those 4 alone.
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

constexpr int kEach = 4;  // vectors that a thread copies at a time

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

// One vector on its way; the first of a slot takes pos and mass along. In three steps, each a load that
// waits for the one before: a thread takes its vectors through them side by side.
template <From kFrom>
struct Move {
  int32_t token;
  int32_t head;
  int32_t part;  // of the slot's vectors, K's first
  int32_t slot;
  size_t within;  // the part's distance from the first of K in a page
  Place to;
  uint4 vector;

  // index: over (token, head, part) of the row.
  __device__ void find_slot(const Args& args, const Row& row, int64_t first_entry, uint32_t index,
                            uint32_t number) {
    const uint32_t slot_vectors = 2 * static_cast<uint32_t>(args.row_vectors);
    const uint32_t at = min(index, number - 1);
    const uint32_t item = at / slot_vectors;
    part = static_cast<int32_t>(at % slot_vectors);
    token = static_cast<int32_t>(item / static_cast<uint32_t>(args.kv.kv_heads));
    head = static_cast<int32_t>(item % static_cast<uint32_t>(args.kv.kv_heads));
    slot = slot_of<kFrom>(args, row, first_entry, token, head);
    if (index >= number) slot = -1;
    within = static_cast<size_t>(part);
    if (part >= args.row_vectors) within += static_cast<size_t>((kPageSlots - 1) * args.row_vectors);
  }
  // What is dropped reads the entry of the row's first page, for nothing.
  __device__ void find_place(const Args& args, const Row& row) { to = Place(args, row, head, max(slot, 0)); }

  __device__ size_t staged(const Args& args, const Row& row) const {
    return static_cast<size_t>(row.token_begin + token) * static_cast<size_t>(args.kv.kv_heads) +
           static_cast<size_t>(head);
  }
  __device__ void fetch(const Args& args, const Row& row) {
    if (slot < 0) return;
    if constexpr (kFrom == From::compact) {
      const Place from(args, row, head, row.keep + token);
      vector = static_cast<const uint4*>(args.kv.kv)[from.vector + within];
    } else {
      const bool is_v = part >= args.row_vectors;
      const size_t source = staged(args, row) * static_cast<size_t>(args.row_vectors);
      vector = (is_v ? args.staged.v
                     : args.staged.k)[source + static_cast<size_t>(is_v ? part - args.row_vectors : part)];
    }
  }
  __device__ void store(const Args& args, const Row& row) const {
    if (slot < 0) return;
    static_cast<uint4*>(args.kv.kv)[to.vector + within] = vector;
    if (part != 0) return;
    if constexpr (kFrom == From::compact) {
      const Place from(args, row, head, row.keep + token);
      args.kv.pos[to.state] = args.kv.pos[from.state];
      args.kv.mass[to.state] = args.kv.mass[from.state];
    } else {
      args.kv.pos[to.state] = row.position + token;
      args.kv.mass[to.state] = args.staged.mass == nullptr ? 0.0F : args.staged.mass[staged(args, row)];
    }
  }
};

// Grid: blocks that share a row's copies, rows.
template <From kFrom>
__global__ void __launch_bounds__(kThreads) write_kernel(const Args args) {
  const Row row = args.rows[blockIdx.y];  // a copy: stores to the cache might else change it
  if (row.sequence == kNoSequence) return;
  int64_t first_entry = row.token_begin;
  int32_t tokens = row.token_count;
  if constexpr (kFrom == From::compact) {
    first_entry = tail_entry(args.rows, static_cast<int32_t>(blockIdx.y));
    tokens = tail_surplus(row);
  }
  const uint32_t number = static_cast<uint32_t>(tokens) * static_cast<uint32_t>(args.kv.kv_heads) * 2 *
                          static_cast<uint32_t>(args.row_vectors);
  for (uint32_t begin = blockIdx.x * kThreads * kEach; begin < number;
       begin += gridDim.x * kThreads * kEach) {
    Move<kFrom> move[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e)
      move[e].find_slot(args, row, first_entry, begin + e * kThreads + threadIdx.x, number);
#pragma unroll
    for (int e = 0; e < kEach; ++e) move[e].find_place(args, row);
#pragma unroll
    for (int e = 0; e < kEach; ++e) move[e].fetch(args, row);
#pragma unroll
    for (int e = 0; e < kEach; ++e) move[e].store(args, row);
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
  const int64_t vectors = ceil_div(tokens, rows.count) * kv.kv_heads * 2 * args.row_vectors;
  constexpr int64_t kMostBlocks = 512;  // to a row
  const int64_t blocks = std::clamp<int64_t>(ceil_div(vectors, kThreads * kEach), 1, kMostBlocks);
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
