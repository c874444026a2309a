// Token embedding: out[t] = table[ids[t]].
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// ids [T] i32 in [0, V); table [V, d] bf16 or fp32; out [T, d] of the table's dtype.
void embedding(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out);

}  // namespace batchmax::kernels
