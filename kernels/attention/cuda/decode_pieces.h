// How decode cuts a row's slots, and in which order the results of the pieces are joined. Both depend on the
// row's own number of slots alone, and one thread block that takes all pieces of a row gives the same bits as
// one block per piece and a second kernel that joins them.
#pragma once

#include <cmath>

#include "kernels/attention/cuda/mma.h"
#include "kernels/core/kv_view.h"

namespace batchmax::kernels::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = 32 * kDecodeWarps;
inline constexpr int kWarpSlots = kPageSlots / kDecodeWarps;  // of each page, 16: one matrix product
inline constexpr int kMaxGroup = 8;

inline constexpr int kMaxPieces = 16;
inline constexpr int kLeastPiece = 512;  // slots: 256 KB of K and V in bf16 at D 128

BATCHMAX_HOST_DEVICE inline int32_t piece_slots(int32_t slots) {
  const int32_t even = (slots + kMaxPieces - 1) / kMaxPieces;
  const int32_t pages = (even + kPageSlots - 1) / kPageSlots * kPageSlots;
  return pages > kLeastPiece ? pages : kLeastPiece;
}
BATCHMAX_HOST_DEVICE inline int32_t piece_count(int32_t slots) {
  const int32_t piece = piece_slots(slots);
  return (slots + piece - 1) / piece;
}

// Floats of one (row, query head, piece) in the workspace: Σ 2^(score - top) v of each dimension, then top
// and the sum of the weights; padded to 16 bytes. Scores in units of log2.
BATCHMAX_HOST_DEVICE constexpr int64_t partial_floats(int64_t head_dim) { return head_dim + 4; }

// What some of the slots give to one element of a query's output.
struct Partial {
  float top = -INFINITY;  // no slots yet
  float sum = 0;
  float out = 0;

  // Explicit operations: the order and the roundings are the same wherever this is inlined.
  __device__ void add(const Partial& other) {
    const float new_top = fmaxf(top, other.top);
    const float mine = weight(top, new_top);
    const float others = weight(other.top, new_top);
    sum = __fmaf_rn(sum, mine, __fmul_rn(other.sum, others));
    out = __fmaf_rn(out, mine, __fmul_rn(other.out, others));
    top = new_top;
  }

 private:
  __device__ static float weight(float of, float new_top) {
    return of == new_top ? 1.0F : exp2_fast(__fsub_rn(of, new_top));
  }
};

}  // namespace batchmax::kernels::cuda
