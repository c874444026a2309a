#include "kernels/linear/linear.h"

#include <utility>

#include "kernels/core/build.h"
#include "kernels/linear/implementation.h"

namespace batchmax::kernels {
namespace {

std::unique_ptr<Linear::Implementation> make(const Stream& stream,
                                             [[maybe_unused]] const MatmulLibrary& library,
                                             const Tensor& weight, const Tensor& bias, DType compute) {
  Dims dims("linear");
  dims.match("weight", weight, {"N", "K"}).dtype("weight", weight, {DType::bf16, DType::f32});
  if (bias) dims.match("bias", bias, {"N"}).dtype("bias", bias, {DType::bf16, DType::f32});
  CHECK(compute == DType::bf16 || compute == DType::f32);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::make_linear(stream, library, weight, bias, compute);
  }
  return cpu::make_linear(stream, weight, bias, compute);
}

}  // namespace

MatmulLibrary::MatmulLibrary([[maybe_unused]] const Stream& stream) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) state_ = cuda::make_library(stream);
  }
}

Linear::Linear(const Stream& stream, const MatmulLibrary& library, const Tensor& weight, const Tensor& bias,
               DType compute)
    : implementation_(make(stream, library, weight, bias, compute)) {}
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

void Linear::prepare(const Stream& stream, int64_t rows, DType out) const {
  CHECK_GE(rows, 1);
  CHECK(out == implementation_->compute() || out == DType::f32);
  implementation_->prepare(stream, rows, out);
}

void Linear::run(const Stream& stream, const Tensor& x, const Tensor& out) const {
  Dims dims("linear");
  dims.match("x", x, {"M", "K"}).match("out", out, {"M", "N"});
  dims.dtype("x", x, {implementation_->compute()})
      .dtype("out", out, {implementation_->compute(), DType::f32});
  CHECK_EQ(dims["K"], inputs());
  CHECK_EQ(dims["N"], outputs());
  CHECK_GE(dims["M"], 1);
  implementation_->run(stream, x, out);
}

int64_t Linear::inputs() const { return implementation_->inputs(); }
int64_t Linear::outputs() const { return implementation_->outputs(); }
size_t Linear::weight_bytes() const { return implementation_->weight_bytes(); }

DType preferred_compute(const Stream& stream) {
  return stream.backend() == Backend::cuda ? DType::bf16 : cpu::preferred_compute();
}

}  // namespace batchmax::kernels
