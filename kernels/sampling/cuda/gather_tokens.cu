// A thread per decode row, four bytes each.
#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void gather(const Row* rows, int count, const int32_t* last_token, int32_t* ids) {
  const int r = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (r >= count || rows[r].sequence == kNoSequence) return;
  ids[rows[r].token_begin] = last_token[rows[r].sequence];
}

}  // namespace

void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids) {
  if (rows.count == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_div(rows.count, kThreads));
  gather<<<blocks, kThreads, 0, stream_of(stream)>>>(rows.data, rows.count, last_token.as<int32_t>(),
                                                     ids.as<int32_t>());
  check_launch("gather_tokens");
}

}  // namespace batchmax::kernels::cuda
