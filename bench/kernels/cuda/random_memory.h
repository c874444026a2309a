// Device memory that holds normal deviates: zeros would time better than real data.
#pragma once

#include "kernels/core/buffer.h"

namespace batchmax::bench {

// `elements` of bf16 or fp32. The values repeat after a prime number of elements: random enough for any
// kernel.
kernels::Buffer random_memory(const kernels::Stream& stream, kernels::DType dtype, size_t elements,
                              float scale = 1.0F);

}  // namespace batchmax::bench
