// Linear layer: out = x · Wᵀ + bias, W packed once at load into the backend's best layout.
// cpu: oneDNN (bf16 with AMX or AVX-512 where the machine has them); cuda: cuBLASLt, algorithms timed once
// per shape. Accumulation fp32. A Linear owns its packed weight; one thread at a time.
#pragma once

#include <memory>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

class Linear {
 public:
  // weight [N, K] and optional bias [N], host memory, bf16 or fp32; both are converted to `compute` (bf16 or
  // fp32) and may be freed afterwards. Throws std::runtime_error when the backend cannot make the primitive.
  Linear(const Stream& stream, const Tensor& weight, const Tensor& bias, DType compute);
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  // x [M, K] in `compute`; out [M, N] in `compute` or fp32. M >= 1 may change from call to call.
  void run(const Stream& stream, const Tensor& x, const Tensor& out) const;
  int64_t inputs() const;   // K
  int64_t outputs() const;  // N
  size_t weight_bytes() const;

  // One per backend: kernels/linear/implementation.h.
  class Implementation;

 private:
  std::unique_ptr<Implementation> implementation_;
};

// The compute dtype that serves a bf16 model best on this stream's machine: bf16 where its matmul library has
// bf16 products (cuda: always; cpu: where oneDNN can, AVX-512 or later), else fp32.
DType preferred_compute(const Stream& stream);

}  // namespace batchmax::kernels
