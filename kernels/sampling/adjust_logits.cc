#include "kernels/sampling/adjust_logits.h"

#include "kernels/core/build.h"
#include "kernels/sampling/backends.h"

namespace batchmax::kernels {

void adjust_logits(const Stream& stream, const Tensor& logits, const AdjustRow* rows_host,
                   const AdjustRow* rows_data, const LogitTables& tables) {
  Dims dims("adjust_logits");
  dims.match("logits", logits, {"R", "V"}).match("counts", tables.counts, {"S", "V"});
  dims.match("entries", tables.entries, {"S", "bytes"});
  dims.dtype("logits", logits, {DType::f32}).dtype("counts", tables.counts, {DType::i32});
  dims.dtype("entries", tables.entries, {DType::u8});
  const int64_t entries = dims["bytes"] / static_cast<int64_t>(sizeof(LogitEntry));
  for (int64_t r = 0; r < dims["R"]; ++r) {
    const AdjustRow& row = rows_host[r];
    if (row.sequence == kNoSequence) continue;
    CHECK_GE(row.sequence, 0);
    CHECK_LT(row.sequence, dims["S"]);
    CHECK_GE(row.biases, 0);
    CHECK_LE(row.biases, entries);
    CHECK_GE(row.ban_begin, 0);
    CHECK_LE(int64_t{row.ban_begin} + row.bans, entries);
    CHECK_GT(row.repetition, 0.0F);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::adjust_logits(stream, logits, rows_data, tables);
  }
  cpu::adjust_logits(stream, logits, rows_data, tables);
}

}  // namespace batchmax::kernels
