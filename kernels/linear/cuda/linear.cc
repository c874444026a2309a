// out = x · Wᵀ + bias through cuBLASLt. The weight stays row-major [N, K]: cuBLASLt reads it transposed as
// fast.
#include <vector>

#include "kernels/linear/cuda/matmul_library.h"
#include "kernels/linear/implementation.h"
#include "kernels/linear/weight_dtype.h"

namespace batchmax::kernels::cuda {
namespace {

Buffer on_device(const Stream& stream, const void* host, size_t bytes) {
  Buffer buffer(stream, bytes);
  upload(stream, buffer.data(), host, bytes);
  stream.synchronize();
  return buffer;
}

class CudaLinear final : public Linear::Implementation {
 public:
  CudaLinear(const Stream& stream, const MatmulLibrary& library, const Tensor& weight, const Tensor& bias,
             DType compute)
      : Implementation(weight.dim(0), weight.dim(1)), compute_(compute), library_(library) {
    CHECK(library.state() != nullptr);
    std::vector<std::byte> storage;
    weight_ = on_device(stream, in_dtype(weight, compute, storage),
                        static_cast<size_t>(weight.elements()) * size_of(compute));
    if (!bias) return;
    // cuBLASLt wants the bias in the dtype of the output, of which a layer has one or two.
    const std::vector<float> values = bias_values(bias, compute);
    std::vector<bf16> rounded;
    for (const float value : values) rounded.push_back(to_bf16(value));
    bias_f32_ = on_device(stream, values.data(), values.size() * sizeof(float));
    bias_bf16_ = on_device(stream, rounded.data(), rounded.size() * sizeof(bf16));
  }

  void prepare(const Stream& stream, int64_t rows, DType out) override {
    library_.state()->prepare(stream, shape(out), rows, weight_.data(), bias(out));
  }
  void run(const Stream& stream, const Tensor& x, const Tensor& out) override {
    library_.state()->run(stream, shape(out.dtype()), x.dim(0),
                          {weight_.data(), bias(out.dtype()), x.data(), out.data()});
  }
  size_t weight_bytes() const override { return weight_.bytes() + bias_f32_.bytes() + bias_bf16_.bytes(); }
  DType compute() const override { return compute_; }

 private:
  MatmulShape shape(DType out) const { return {outputs(), inputs(), compute_, out, bias(out) != nullptr}; }
  const void* bias(DType out) const { return out == DType::bf16 ? bias_bf16_.data() : bias_f32_.data(); }

  DType compute_;
  MatmulLibrary library_;
  Buffer weight_;
  Buffer bias_f32_;
  Buffer bias_bf16_;
};

}  // namespace

std::unique_ptr<Linear::Implementation> make_linear(const Stream& stream, const MatmulLibrary& library,
                                                    const Tensor& weight, const Tensor& bias, DType compute) {
  return std::make_unique<CudaLinear>(stream, library, weight, bias, compute);
}

}  // namespace batchmax::kernels::cuda
