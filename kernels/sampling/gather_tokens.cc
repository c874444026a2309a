#include "kernels/sampling/gather_tokens.h"

#include "kernels/core/build.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels {

void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids) {
  Dims dims("gather_tokens");
  dims.match("last_token", last_token, {"S"}).match("ids", ids, {"T"});
  dims.dtype("last_token", last_token, {DType::i32}).dtype("ids", ids, {DType::i32});
  for (int32_t r = 0; r < rows.count; ++r) {
    const Row& row = rows.host[r];
    if (row.sequence == kNoSequence) continue;
    CHECK_EQ(row.token_count, 1);
    CHECK_GE(row.sequence, 0);
    CHECK_LT(row.sequence, dims["S"]);
    CHECK_GE(row.token_begin, 0);
    CHECK_LT(row.token_begin, dims["T"]);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::gather_tokens(stream, rows, last_token, ids);
  }
  cpu::gather_tokens(stream, rows, last_token, ids);
}

}  // namespace batchmax::kernels
