// The arithmetic of a host all-reduce: the same sum, in the same order, whoever computes it.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/core/dtype.h"

namespace batchmax::comm {

// out[i] = inputs[0][i] + inputs[1][i] + ... in that order, in fp32, rounded once. f32 or bf16; `elements` of
// each. `out` may be one of the inputs.
void sum_in_rank_order(kernels::DType dtype, std::span<const void* const> inputs, void* out, size_t elements);

// Elements [begin, end) of the slice that `rank` of `size` sums up: all elements are shared out, in rank
// order.
struct Slice {
  size_t begin;
  size_t end;
  size_t elements() const { return end - begin; }
};
Slice slice_of(size_t elements, int rank, int size);

}  // namespace batchmax::comm
