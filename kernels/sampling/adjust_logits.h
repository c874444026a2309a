// What a request wants changed in its logits before a token is drawn: biases, penalties for what was said
// before, tokens that must not be drawn yet. Runs only where a row asks for it; in place.
#pragma once

#include <cstdint>

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

struct LogitEntry {
  int32_t token;
  float bias;  // of a ban: not read
};

// Trivially copyable; the plan carries them as bytes.
struct AdjustRow {
  int32_t sequence;   // whose counts and entries; kNoSequence: the row is left as it is
  int32_t biases;     // entries [0, biases) of the sequence are added
  int32_t ban_begin;  // tokens of entries [ban_begin, ban_begin + bans) cannot be drawn
  int32_t bans;
  float repetition;  // > 0; 1: off
  float presence;    // 0: off
  float frequency;   // 0: off
};
static_assert(sizeof(AdjustRow) == 28);

BATCHMAX_HOST_DEVICE inline bool is_penalised(const AdjustRow& row) {
  return row.repetition != 1 || row.presence != 0 || row.frequency != 0;
}

// What the rows speak of, by sequence.
struct LogitTables {
  Tensor counts;   // i32 [S, V], count_tokens.h
  Tensor entries;  // u8 [S, E · sizeof(LogitEntry)]: LogitEntry [S, E]; no token twice among biases
};

// logits [R, V] fp32; rows: R entries, host and device copies; entry r speaks of logits[r]. Per token, in
// this order, n = times it was output:
//   bias        logit += bias
//   repetition  of tokens of prompt or output: logit > 0 ? logit / repetition : logit · repetition
//   frequency, presence   of tokens of the output: logit −= frequency · n + presence
//   ban         logit = −inf
// cuda: rows are read from the device copy alone and the grid depends on R: a captured launch adjusts for
// whatever rows it finds there.
void adjust_logits(const Stream& stream, const Tensor& logits, const AdjustRow* rows_host,
                   const AdjustRow* rows_data, const LogitTables& tables);

}  // namespace batchmax::kernels
