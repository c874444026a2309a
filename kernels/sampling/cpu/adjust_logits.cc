// A thread per row. Biases and bans touch their tokens alone; penalties read V counts and logits.
#include <limits>

#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cpu {
namespace {

void penalise(const AdjustRow& row, const int32_t* counts, float* logits, int64_t n) {
  for (int64_t id = 0; id < n; ++id) {
    if (counts[id] == 0) continue;
    float logit = logits[id];
    logit = logit > 0 ? logit / row.repetition : logit * row.repetition;
    const int32_t times = count_in_output(counts[id]);
    if (times > 0) logit -= row.frequency * static_cast<float>(times) + row.presence;
    logits[id] = logit;
  }
}

void adjust_row(const AdjustRow& row, const LogitTables& tables, float* logits) {
  const int64_t vocabulary = tables.counts.dim(1);
  const auto* entries = reinterpret_cast<const LogitEntry*>(tables.entries.as<uint8_t>() +
                                                            row.sequence * tables.entries.dim(1));
  for (int32_t i = 0; i < row.biases; ++i) logits[entries[i].token] += entries[i].bias;
  if (is_penalised(row))
    penalise(row, tables.counts.as<int32_t>() + row.sequence * vocabulary, logits, vocabulary);
  for (int32_t i = row.ban_begin; i < row.ban_begin + row.bans; ++i) {
    logits[entries[i].token] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace

void adjust_logits(const Stream&, const Tensor& logits, const AdjustRow* rows_data,
                   const LogitTables& tables) {
  const int64_t rows = logits.dim(0);
  const int64_t vocabulary = logits.dim(1);
#pragma omp parallel for schedule(dynamic) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r) {
    if (rows_data[r].sequence == kNoSequence) continue;
    adjust_row(rows_data[r], tables, logits.as<float>() + r * vocabulary);
  }
}

}  // namespace batchmax::kernels::cpu
