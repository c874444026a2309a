// Weights and biases as a backend packs them: converted on the host, once at load.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// `tensor`'s elements (bf16 or fp32, host memory) in `dtype`: its own memory where that is its dtype, else
// `storage`, filled. nullptr where the tensor is absent.
const void* in_dtype(const Tensor& tensor, DType dtype, std::vector<std::byte>& storage);

// The bias takes part in the fp32 accumulation, so it is kept as fp32, rounded to `compute` as the weight is.
// Empty where it is absent.
std::vector<float> bias_values(const Tensor& bias, DType compute);

}  // namespace batchmax::kernels
