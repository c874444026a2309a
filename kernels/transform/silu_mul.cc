#include "kernels/transform/silu_mul.h"

#include "kernels/core/build.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels {

void silu_mul(const Stream& stream, const Tensor& gate_up, const Tensor& out) {
  Dims dims("silu_mul");
  dims.match("gate_up", gate_up, {"T", "2F"}).match("out", out, {"T", "F"});
  dims.dtype("gate_up", gate_up, {DType::bf16, DType::f32}).dtype("out", out, {gate_up.dtype()});
  CHECK_EQ(gate_up.dim(1), 2 * out.dim(1));
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::silu_mul(stream, gate_up, out);
  }
  cpu::silu_mul(stream, gate_up, out);
}

}  // namespace batchmax::kernels
