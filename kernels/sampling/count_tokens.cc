#include "kernels/sampling/count_tokens.h"

#include "kernels/core/build.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels {

void count_tokens(const Stream& stream, const CountRow* rows_host, const CountRow* rows_data, int32_t rows,
                  const Tensor& ids, const Tensor& counts) {
  Dims dims("count_tokens");
  dims.match("ids", ids, {"T"}).match("counts", counts, {"S", "V"});
  dims.dtype("ids", ids, {DType::i32}).dtype("counts", counts, {DType::i32});
  for (int32_t r = 0; r < rows; ++r) {
    const CountRow& row = rows_host[r];
    if (row.sequence == kNoSequence) continue;
    CHECK_GE(row.sequence, 0);
    CHECK_LT(row.sequence, dims["S"]);
    CHECK_GE(row.token_begin, 0);
    CHECK_LE(int64_t{row.token_begin} + row.token_count, dims["T"]);
    CHECK_LE(row.prompt_count, row.token_count);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::count_tokens(stream, rows_data, rows, ids, counts);
  }
  cpu::count_tokens(stream, rows_data, rows, ids, counts);
}

}  // namespace batchmax::kernels
