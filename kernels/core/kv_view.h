// The KV cache as the kernels see it, and the rows of a step. Plain values; the memory belongs to worker/kv.
//
// Layout. A page is 64 slots of all local KV heads of every layer; one page id is valid in all layers.
//   kv    [layers][pages][kv_heads][2: K, V][64 slots][head_dim]   bf16 or fp32, K stored rotated
//   pos   [layers][pages][kv_heads][64]  int32, the token's original position
//   mass  [layers][pages][kv_heads][64]  fp32, softmax probability received (sum over queries and group
//   heads)
// Slot s of a sequence lies in page page_tables[sequence][s / 64] at s % 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/core/host_device.h"

namespace batchmax::kernels {

inline constexpr int kPageSlots = 64;

inline constexpr int32_t kNoSequence = -1;  // of a Row that pads a step

struct KvView {
  void* kv = nullptr;
  int32_t* pos = nullptr;
  float* mass = nullptr;
  DType dtype = DType::bf16;
  int32_t layers = 0;
  int32_t pages = 0;
  int32_t kv_heads = 0;                  // local to this rank
  int32_t head_dim = 0;                  // 64, 96 or 128
  const int32_t* page_tables = nullptr;  // [max_sequences, table_stride]
  int32_t table_stride = 0;

  BATCHMAX_HOST_DEVICE size_t tile_elements() const {
    return static_cast<size_t>(2) * kPageSlots * static_cast<size_t>(head_dim);
  }
  BATCHMAX_HOST_DEVICE size_t tile_index(int32_t layer, int32_t page, int32_t head) const {
    return (static_cast<size_t>(layer) * static_cast<size_t>(pages) + static_cast<size_t>(page)) *
               static_cast<size_t>(kv_heads) +
           static_cast<size_t>(head);
  }
};

// One sequence's part in a step. Decode: one token. Prefill: one block. Trivially copyable: the plan carries
// rows as bytes and the executor uploads them as they are.
//
// Padding. A CUDA graph is captured for a number of decode rows and replayed with fewer: the rest have
// sequence kNoSequence. Every op that takes Rows skips such a row, whatever else it holds, and writes nothing
// for it.
struct Row {
  int32_t sequence;     // index of its page table and of its victim queues; kNoSequence: padding
  int32_t resident;     // slots in use before this step's tokens are stored
  int32_t token_begin;  // first of its tokens in the step's token tensors
  int32_t token_count;  // 1 (decode) or the block's length
  int32_t position;     // original position of its first token in this step
  int32_t queue_index;  // decode: entry of the victim queue to overwrite; -1: store in slot `resident`
  int32_t keep;         // slots in use after this step (and after its selection)
  int32_t victims;      // select_victims: how many to choose (<= decode_block); else 0
  int32_t sinks;        // protection: positions < sinks,
  int32_t recent;       //   > t_now - recent (t_now: last position processed),
  int32_t tail_begin;   //   and in [tail_begin, tail_end); empty before the prompt's last block
  int32_t tail_end;
  int32_t rope_table;  // 0; with longrope 0: short factors, 1: long
  int32_t reserved;
  uint64_t seed;  // of the request: score `random`
};
static_assert(sizeof(Row) == 64);

BATCHMAX_HOST_DEVICE inline int32_t last_position(const Row& row) {
  return row.position + row.token_count - 1;
}
BATCHMAX_HOST_DEVICE inline bool is_protected(const Row& row, int32_t position) {
  return position < row.sinks || position > last_position(row) - row.recent ||
         (position >= row.tail_begin && position < row.tail_end);
}

// A span of rows: `host` for sizes and launch geometry, `data` (same contents) where the kernels read.
// On cpu both point to the same memory. Ops of decode rows derive their launch geometry from `count` and
// static sizes alone, never from what `host` holds: a graph is captured once and replayed for other rows.
struct Rows {
  const Row* host = nullptr;
  const Row* data = nullptr;
  int32_t count = 0;
  Rows sub(int32_t begin, int32_t n) const { return {host + begin, data + begin, n}; }
};

// cos and sin of position * frequency, fp32, pure rotations (an attention factor belongs into the softmax
// scale). Rotation pairs element i with i + head_dim / 2 ("rotate half", as in Llama checkpoints of
// transformers).
struct RopeTable {
  const float* cos = nullptr;  // [tables, max_positions, head_dim / 2]
  const float* sin = nullptr;  // [tables, max_positions, head_dim / 2]
  int32_t max_positions = 0;
  // [tables, head_dim / 2]. The tables' angles are position * frequency rounded to fp32, so that a kernel may
  // compute what costs more to read.
  const float* frequency = nullptr;
};

}  // namespace batchmax::kernels
