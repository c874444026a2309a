// Normal deviates, in bf16 or fp32: zeros would time better than real data. The values repeat after a prime
// number of elements: random enough for any kernel, and quick to make.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/core/buffer.h"

namespace batchmax::bench {

std::vector<std::byte> random_values(kernels::DType dtype, size_t elements, float scale = 1.0F);  // host
kernels::Buffer random_memory(const kernels::Stream& stream, kernels::DType dtype, size_t elements,
                              float scale = 1.0F);

}  // namespace batchmax::bench
