// out = x · Wᵀ + bias through oneDNN. At M rows: 2·M·N·K products; M small: the N·K weight bytes read decide.
#include <vector>

#include "kernels/linear/cpu/onednn_matmul.h"
#include "kernels/linear/implementation.h"
#include "kernels/linear/weight_dtype.h"

namespace batchmax::kernels::cpu {
namespace {

OneDnnMatmul pack(const Tensor& weight, const Tensor& bias, DType compute) {
  std::vector<std::byte> storage;
  const std::vector<float> bias_fp32 = bias_values(bias, compute);
  return OneDnnMatmul(weight.dim(0), weight.dim(1), compute, in_dtype(weight, compute, storage),
                      bias ? bias_fp32.data() : nullptr);
}

class CpuLinear final : public Linear::Implementation {
 public:
  CpuLinear(const Tensor& weight, const Tensor& bias, DType compute)
      : Implementation(weight.dim(0), weight.dim(1)),
        compute_(compute),
        matmul_(pack(weight, bias, compute)) {}
  void run(const Stream&, const Tensor& x, const Tensor& out) override {
    matmul_.run(x.dim(0), x.data(), out.data(), out.dtype());
  }
  size_t weight_bytes() const override { return matmul_.weight_bytes(); }
  DType compute() const override { return compute_; }

 private:
  DType compute_;
  OneDnnMatmul matmul_;
};

}  // namespace

std::unique_ptr<Linear::Implementation> make_linear(const Stream&, const Tensor& weight, const Tensor& bias,
                                                    DType compute) {
  return std::make_unique<CpuLinear>(weight, bias, compute);
}

DType preferred_compute() { return OneDnnMatmul::has_bf16() ? DType::bf16 : DType::f32; }

}  // namespace batchmax::kernels::cpu
