// The only place that knows oneDNN, and that its interface differs between 2.x (operation descriptors)
// and 3.x.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cpu {

// out [M, N] = x [M, K] · W [K, N] + bias [N], W packed once. Primitives are made per (M, out dtype) and
// kept, the least recently used is dropped beyond a bound. All of them read the one packing: it is chosen for
// a typical M and demanded for every other, so no call ever reorders weights. One thread at a time; work runs
// on the calling thread's OpenMP team.
class OneDnnMatmul {
 public:
  // weight [N, K] and bias [N] (may be null, fp32) are read here and not kept.
  // Throws std::runtime_error when oneDNN cannot multiply in `compute` on this machine.
  OneDnnMatmul(int64_t outputs, int64_t inputs, DType compute, const void* weight, const float* bias);
  ~OneDnnMatmul();
  void run(int64_t m, const void* x, void* out, DType out_dtype);
  size_t weight_bytes() const;

  // Whether bf16 products are more than emulated on this machine: oneDNN has a vector kernel for them.
  static bool has_bf16();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchmax::kernels::cpu
