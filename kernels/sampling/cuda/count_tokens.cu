// A block per row: clears V counts where a sequence begins, then counts the row's tokens. Sums and ors of
// integers: the order does not matter.
#include "kernels/core/cuda/check.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    count_kernel(const CountRow* rows, const int32_t* ids, int32_t* counts, int vocabulary) {
  const CountRow row = rows[blockIdx.x];
  if (row.sequence == kNoSequence) return;
  int32_t* own = counts + static_cast<int64_t>(row.sequence) * vocabulary;
  if (row.restart != 0) {
    for (int i = static_cast<int>(threadIdx.x); i < vocabulary; i += kThreads) own[i] = 0;
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < row.token_count; i += kThreads) {
    int32_t* count = own + ids[row.token_begin + i];
    if (i < row.prompt_count) {
      atomicOr(count, 1);
    } else {
      atomicAdd(count, 2);
    }
  }
}

}  // namespace

void count_tokens(const Stream& stream, const CountRow* rows_data, int32_t rows, const Tensor& ids,
                  const Tensor& counts) {
  if (rows == 0) return;
  count_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream_of(stream)>>>(
      rows_data, ids.as<int32_t>(), counts.as<int32_t>(), static_cast<int>(counts.dim(1)));
  check_launch("count_tokens");
}

}  // namespace batchmax::kernels::cuda
