// What a backend provides for Linear, and the ops of this folder per backend. Included by the dispatch and by
// the backends' sources only.
#pragma once

#include <memory>

#include "kernels/linear/embedding.h"
#include "kernels/linear/linear.h"

namespace batchmax::kernels {

class Linear::Implementation {
 public:
  Implementation(int64_t outputs, int64_t inputs) : outputs_(outputs), inputs_(inputs) {}
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;
  virtual ~Implementation() = default;
  // Shapes and dtypes have been checked.
  virtual void prepare(const Stream&, int64_t /*rows*/, DType /*out*/) {}
  virtual void run(const Stream& stream, const Tensor& x, const Tensor& out) = 0;
  virtual size_t weight_bytes() const = 0;
  virtual DType compute() const = 0;
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }

 private:
  int64_t outputs_;
  int64_t inputs_;
};

namespace cpu {
std::unique_ptr<Linear::Implementation> make_linear(const Stream& stream, const Tensor& weight,
                                                    const Tensor& bias, DType compute);
DType preferred_compute();
void embedding(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out);
}  // namespace cpu

namespace cuda {
std::shared_ptr<MatmulLibrary::State> make_library(const Stream& stream);
std::unique_ptr<Linear::Implementation> make_linear(const Stream& stream, const MatmulLibrary& library,
                                                    const Tensor& weight, const Tensor& bias, DType compute);
void embedding(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out);
}  // namespace cuda

}  // namespace batchmax::kernels
