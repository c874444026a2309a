#include "kernels/sampling/token_logprobs.h"

#include "kernels/core/build.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels {

void token_logprobs(const Stream& stream, const Tensor& logits, const LogprobRow* rows_host,
                    const LogprobRow* rows_data, const Tensor& ids, const Tensor& results) {
  Dims dims("token_logprobs");
  dims.match("logits", logits, {"R", "V"}).match("ids", ids, {"N"}).match("results", results, {"bytes"});
  dims.dtype("logits", logits, {DType::f32}).dtype("ids", ids, {DType::i32});
  dims.dtype("results", results, {DType::u8});
  CHECK_GE(dims["V"], 1);
  CHECK_EQ(dims["bytes"], dims["R"] * static_cast<int64_t>(sizeof(TokenLogprob)));
  for (int64_t r = 0; r < dims["R"]; ++r) {
    const LogprobRow& row = rows_host[r];
    CHECK_GE(row.target, -1);
    CHECK_LT(row.target, dims["V"]);
    CHECK_GE(row.sample, 0);
    if (row.target < 0) CHECK_LT(row.sample, dims["N"]);
    CHECK_GE(row.top, 0);
    CHECK_LE(row.top, kMaxTopLogprobs);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda)
      return cuda::token_logprobs(stream, logits, rows_data, ids, results);
  }
  cpu::token_logprobs(stream, logits, rows_data, ids, results);
}

}  // namespace batchmax::kernels
