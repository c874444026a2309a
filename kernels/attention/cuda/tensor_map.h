// Descriptions of tensors for Hopper's copy engine, which brings boxes of them into shared memory in the
// layout that ProductTile has. Made on the host, passed to kernels by value as __grid_constant__.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace batchmax::kernels::cuda {

// bf16 [rows, heads, head_dim], boxes of 64 rows of one head and 64 columns (head_dim 96: 32). 16-byte
// aligned. Throws std::runtime_error where the driver refuses.
CUtensorMap rows_of_heads(const void* data, int64_t rows, int64_t heads, int64_t head_dim);

}  // namespace batchmax::kernels::cuda
