// The ops of this folder per backend; shapes and dtypes have been checked by the dispatch.
#pragma once

#include "kernels/transform/rms_norm.h"
#include "kernels/transform/rope_stage.h"
#include "kernels/transform/silu_mul.h"

namespace batchmax::kernels {

namespace cpu {
void rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps, const Tensor& out);
void add_rms_norm(const Stream& stream, const Tensor& residual, const Tensor& delta, const Tensor& weight,
                  float eps, const Tensor& out);
void silu_mul(const Stream& stream, const Tensor& gate_up, const Tensor& out);
void rope_stage(const Stream& stream, const RopeStage& args);
}  // namespace cpu

namespace cuda {
void rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps, const Tensor& out);
void add_rms_norm(const Stream& stream, const Tensor& residual, const Tensor& delta, const Tensor& weight,
                  float eps, const Tensor& out);
void silu_mul(const Stream& stream, const Tensor& gate_up, const Tensor& out);
void rope_stage(const Stream& stream, const RopeStage& args);
}  // namespace cuda

}  // namespace batchmax::kernels
