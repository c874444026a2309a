#include "kernels/transform/rms_norm.h"

#include "kernels/core/build.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels {

void rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  Dims dims("rms_norm");
  dims.match("x", x, {"T", "d"}).match("weight", weight, {"d"}).match("out", out, {"T", "d"});
  dims.dtype("x", x, {DType::bf16, DType::f32})
      .dtype("weight", weight, {x.dtype()})
      .dtype("out", out, {x.dtype()});
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::rms_norm(stream, x, weight, eps, out);
  }
  cpu::rms_norm(stream, x, weight, eps, out);
}

void add_rms_norm(const Stream& stream, const Tensor& residual, const Tensor& delta, const Tensor& weight,
                  float eps, const Tensor& out) {
  Dims dims("add_rms_norm");
  dims.match("residual", residual, {"T", "d"})
      .match("delta", delta, {"T", "d"})
      .match("weight", weight, {"d"});
  dims.match("out", out, {"T", "d"}).dtype("residual", residual, {DType::bf16, DType::f32});
  dims.dtype("delta", delta, {residual.dtype()}).dtype("weight", weight, {residual.dtype()});
  dims.dtype("out", out, {residual.dtype()});
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda)
      return cuda::add_rms_norm(stream, residual, delta, weight, eps, out);
  }
  cpu::add_rms_norm(stream, residual, delta, weight, eps, out);
}

}  // namespace batchmax::kernels
