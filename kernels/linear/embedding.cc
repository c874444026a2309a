#include "kernels/linear/embedding.h"

#include "kernels/core/build.h"
#include "kernels/linear/implementation.h"

namespace batchmax::kernels {

void embedding(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out) {
  Dims dims("embedding");
  dims.match("ids", ids, {"T"}).match("table", table, {"V", "d"}).match("out", out, {"T", "d"});
  dims.dtype("ids", ids, {DType::i32}).dtype("table", table, {DType::bf16, DType::f32});
  dims.dtype("out", out, {table.dtype()});
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::embedding(stream, ids, table, out);
  }
  cpu::embedding(stream, ids, table, out);
}

}  // namespace batchmax::kernels
