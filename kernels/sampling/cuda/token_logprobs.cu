// A block per row. One pass over V for each thread's own best, one for the weights' sum and the rank. The
// best few: the block's highest is taken, and the thread that held it looks through its own V / 1024 again.
#include "kernels/core/cuda/check.h"
#include "kernels/sampling/backends.h"
#include "kernels/sampling/cuda/row.h"

namespace batchmax::kernels::cuda {
namespace {

struct Distribution {
  float highest;
  float log_sum;
  __device__ float logprob(float logit) const {
    if (!(logit > -INFINITY)) return -INFINITY;
    return (logit == highest ? 0.0F : logit - highest) - log_sum;
  }
};

// The key of a token even where it cannot be drawn: those come last, by id.
__device__ uint64_t order_of(float logit, int id) {
  const uint64_t key = key_of(logit, id);
  return key != 0 ? key : kIdMask - static_cast<uint64_t>(id);
}

// The thread's highest key below `bound`, plus one; 0: it has none.
__device__ uint64_t own_best(const LogitRow& row, uint64_t bound) {
  uint64_t best = 0;
  row.each([&](float logit, int id) {
    if (id >= row.count) return;
    const uint64_t key = order_of(logit, id) + 1;
    if (key < bound) best = Most::of(best, key);
  });
  return best;
}

__global__ void __launch_bounds__(kSampleThreads)
    logprobs_kernel(const float* logits, int vocabulary, const LogprobRow* rows, const int32_t* ids,
                    TokenLogprob* results) {
  __shared__ uint64_t partial[kSampleWarps];
  const LogprobRow wanted = rows[blockIdx.x];
  TokenLogprob& result = results[blockIdx.x];
  const LogitRow row{logits + static_cast<int64_t>(blockIdx.x) * vocabulary, vocabulary};
  const int target = wanted.target < 0 ? ids[wanted.sample] : wanted.target;
  const float own_logit = row.logits[target];
  const uint64_t own_order = order_of(own_logit, target);

  uint64_t best = own_best(row, ~uint64_t{0});
  uint64_t next = over_block<Most>(best, partial);
  const bool any = next - 1 > kIdMask;
  Distribution distribution{any ? logit_of(next - 1) : -INFINITY, 0};
  const Weights weights{distribution.highest, 1.0F};
  uint64_t sum = 0, before = 0;
  row.each([&](float logit, int id) {
    if (id >= row.count) return;
    if (logit > -INFINITY) sum += units(weights.of(logit));
    before += order_of(logit, id) > own_order ? 1 : 0;
  });
  sum = over_block<Sum>(sum, partial);
  before = over_block<Sum>(before, partial);
  if (any) distribution.log_sum = static_cast<float>(log(static_cast<double>(sum) * 0x1p-44));

  const int top = min(wanted.top, vocabulary);
  for (int i = 0; i < top; ++i) {
    const uint64_t taken = next - 1;
    if (threadIdx.x == 0) {
      const int id = id_of(taken);
      result.top_ids[i] = id;
      result.top_logprobs[i] = distribution.logprob(row.logits[id]);
    }
    if (best == next) best = own_best(row, next);  // keys differ: one thread held it
    next = over_block<Most>(best, partial);
  }
  if (threadIdx.x != 0) return;
  result.id = target;
  result.logprob = distribution.logprob(own_logit);
  result.rank = static_cast<int32_t>(before) + 1;
  result.top = top;
}

}  // namespace

void token_logprobs(const Stream& stream, const Tensor& logits, const LogprobRow* rows_data,
                    const Tensor& ids, const Tensor& results) {
  CHECK_LE(logits.dim(1), kMostIds);
  const auto rows = static_cast<unsigned>(logits.dim(0));
  if (rows == 0) return;
  logprobs_kernel<<<rows, kSampleThreads, 0, stream_of(stream)>>>(
      logits.as<float>(), static_cast<int>(logits.dim(1)), rows_data, ids.as<int32_t>(),
      reinterpret_cast<TokenLogprob*>(results.as<uint8_t>()));
  check_launch("token_logprobs");
}

}  // namespace batchmax::kernels::cuda
