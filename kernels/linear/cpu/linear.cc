// out = x · Wᵀ + bias through oneDNN. At M rows: 2·M·N·K products; M small: the N·K weight bytes read decide.
#include <stdexcept>
#include <vector>

#include "kernels/linear/cpu/onednn_matmul.h"
#include "kernels/linear/implementation.h"

namespace batchmax::kernels::cpu {
namespace {

// oneDNN converts between dtypes only where it supports both of them; this works on any machine.
template <typename From, typename To>
void convert(const void* from, int64_t elements, std::vector<std::byte>& to) {
  to.resize(static_cast<size_t>(elements) * sizeof(To));
  const auto* source = static_cast<const From*>(from);
  auto* target = reinterpret_cast<To*>(to.data());
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < elements; ++i) {
    if constexpr (std::is_same_v<To, float>) {
      target[i] = to_float(source[i]);
    } else {
      target[i] = to_bf16(to_float(source[i]));
    }
  }
}

// `tensor`'s elements in `dtype`: its own memory where that is its dtype, else `storage`, filled.
const void* in_dtype(const Tensor& tensor, DType dtype, std::vector<std::byte>& storage) {
  if (!tensor || tensor.dtype() == dtype) return tensor.data();
  if (dtype == DType::f32) {
    convert<bf16, float>(tensor.data(), tensor.elements(), storage);
  } else {
    convert<float, bf16>(tensor.data(), tensor.elements(), storage);
  }
  return storage.data();
}

// The bias takes part in the fp32 accumulation, so it is kept as fp32, rounded to `compute` as the weight is.
std::vector<float> bias_values(const Tensor& bias, DType compute) {
  std::vector<float> values;
  if (!bias) return values;
  for (int64_t i = 0; i < bias.dim(0); ++i) {
    const float value = bias.dtype() == DType::bf16 ? to_float(bias.as<bf16>()[i]) : bias.as<float>()[i];
    values.push_back(compute == DType::bf16 ? to_float(to_bf16(value)) : value);
  }
  return values;
}

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
