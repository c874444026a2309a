#include "kernels/sampling/sample.h"

#include "kernels/core/build.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels {

void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token) {
  Dims dims("sample");
  dims.match("logits", logits, {"R", "V"}).match("ids", ids, {"R"}).match("last_token", last_token, {"S"});
  dims.dtype("logits", logits, {DType::f32}).dtype("ids", ids, {DType::i32});
  dims.dtype("last_token", last_token, {DType::i32});
  CHECK_GE(dims["V"], 1);
  for (int64_t r = 0; r < dims["R"]; ++r) {
    if (rows_host[r].sequence == kNoSequence) continue;
    CHECK_GE(rows_host[r].sequence, 0);
    CHECK_LT(rows_host[r].sequence, dims["S"]);
    CHECK_GE(rows_host[r].temperature, 0.0F);
    CHECK_GE(rows_host[r].top_k, 0);
    CHECK_GT(rows_host[r].top_p, 0.0F);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda)
      return cuda::sample(stream, logits, rows_host, rows_data, ids, last_token);
  }
  cpu::sample(stream, logits, rows_host, rows_data, ids, last_token);
}

}  // namespace batchmax::kernels
