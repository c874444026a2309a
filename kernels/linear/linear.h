// Linear layer: out = x · Wᵀ + bias, W packed once at load into the backend's best layout.
// cpu: oneDNN (bf16 with AMX or AVX-512 where the machine has them); cuda: cuBLASLt, algorithms timed once
// per shape. Accumulation fp32, and no TF32. A Linear owns its packed weight; one thread at a time.
#pragma once

#include <memory>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// What the Linear layers of one stream share. cuda: cuBLASLt's handle, its workspace (64 MiB, allocated here)
// and the algorithms chosen so far; layers of one shape share them too. cpu: nothing. A handle: copies mean
// the same library, which lives as long as a copy or a Linear does. The thread of its stream only.
class MatmulLibrary {
 public:
  explicit MatmulLibrary(const Stream& stream);
  class State;  // of the CUDA backend
  const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

class Linear {
 public:
  // weight [N, K] and optional bias [N], host memory, bf16 or fp32; both are converted to `compute` (bf16 or
  // fp32) and may be freed afterwards. Throws std::runtime_error when the backend cannot make the primitive.
  Linear(const Stream& stream, const MatmulLibrary& library, const Tensor& weight, const Tensor& bias,
         DType compute);
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  // Finds the fastest algorithm for `rows` rows and this layer's shape by running the candidates, unless the
  // library knows it already. Allocates the operands for the time being and waits for the device: at start,
  // before the cache takes what memory is left, and not while a graph is captured. Without it run() takes the
  // library's own guess, which depends on nothing but shape and device. Nothing to do on cpu, and for fp32.
  void prepare(const Stream& stream, int64_t rows, DType out) const;

  // x [M, K] in `compute`; out [M, N] in `compute` or fp32. M >= 1 may change from call to call. cuda: both
  // aligned to 16 bytes where K and N are multiples of that; neither allocates nor waits, so it may be
  // captured into a graph.
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
