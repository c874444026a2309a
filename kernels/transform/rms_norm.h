// Root-mean-square norm, alone or after a residual add: y = x / sqrt(mean(x²) + eps) · weight. fp32 inside.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// x [T, d], weight [d], out [T, d]; all bf16 or all fp32. out may be x.
void rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps, const Tensor& out);

// residual += delta (rounded to the dtype), then out = rms_norm(residual).
// residual [T, d] in and out, delta [T, d], weight [d], out [T, d]; all bf16 or all fp32. out may be delta.
void add_rms_norm(const Stream& stream, const Tensor& residual, const Tensor& delta, const Tensor& weight,
                  float eps, const Tensor& out);

}  // namespace batchmax::kernels
