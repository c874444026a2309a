// A block per row; rows that nobody wants adjusted end at once. Penalties read V counts, and the logits of
// those that are not zero.
#include "kernels/core/cuda/check.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 1024;

__device__ void penalise(const AdjustRow& row, const int32_t* counts, float* logits, int vocabulary) {
  for (int id = static_cast<int>(threadIdx.x); id < vocabulary; id += kThreads) {
    const int32_t count = counts[id];
    if (count == 0) continue;
    float logit = logits[id];
    logit = logit > 0 ? logit / row.repetition : logit * row.repetition;
    const int32_t times = count >> 1;
    if (times > 0) logit -= row.frequency * static_cast<float>(times) + row.presence;
    logits[id] = logit;
  }
}

__global__ void __launch_bounds__(kThreads)
    adjust_kernel(float* all_logits, int vocabulary, const AdjustRow* rows, const int32_t* counts,
                  const LogitEntry* all_entries, int entries_each) {
  const AdjustRow row = rows[blockIdx.x];
  if (row.sequence == kNoSequence) return;
  float* logits = all_logits + static_cast<int64_t>(blockIdx.x) * vocabulary;
  const LogitEntry* entries = all_entries + static_cast<int64_t>(row.sequence) * entries_each;
  for (int i = static_cast<int>(threadIdx.x); i < row.biases; i += kThreads)
    logits[entries[i].token] += entries[i].bias;
  __syncthreads();
  if (is_penalised(row))
    penalise(row, counts + static_cast<int64_t>(row.sequence) * vocabulary, logits, vocabulary);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < row.bans; i += kThreads)
    logits[entries[row.ban_begin + i].token] = -INFINITY;
}

}  // namespace

void adjust_logits(const Stream& stream, const Tensor& logits, const AdjustRow* rows_data,
                   const LogitTables& tables) {
  const auto rows = static_cast<unsigned>(logits.dim(0));
  if (rows == 0) return;
  const auto entries_each =
      static_cast<int>(tables.entries.dim(1) / static_cast<int64_t>(sizeof(LogitEntry)));
  adjust_kernel<<<rows, kThreads, 0, stream_of(stream)>>>(
      logits.as<float>(), static_cast<int>(logits.dim(1)), rows_data, tables.counts.as<int32_t>(),
      reinterpret_cast<const LogitEntry*>(tables.entries.as<uint8_t>()), entries_each);
  check_launch("adjust_logits");
}

}  // namespace batchmax::kernels::cuda
