// Draws the next token of each row from its logits. Greedy at temperature 0. Random numbers are
// counter-based, keyed by (seed, choice, position): the same request gives the same draw on every rank,
// backend and replay.
#pragma once

#include <cstdint>

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/sampling/philox.h"

namespace batchmax::kernels {

// Trivially copyable; the plan carries them as bytes.
struct SampleRow {
  uint64_t seed;
  int32_t choice;     // index of the choice within the request (n > 1)
  int32_t position;   // of the token that is drawn
  float temperature;  // 0: greedy, first of equal logits
  float top_p;        // (0, 1]; 1: off
  float min_p;        // [0, 1]; 0: off
  int32_t top_k;      // 0: off
  int32_t token;      // row of the step's token tensors whose logits these are
  int32_t
      sequence;  // where the drawn id is kept for the next step: last_token[sequence]; kNoSequence: padding
};
static_assert(sizeof(SampleRow) == 40);

// logits [R, V] fp32 (may be overwritten). rows: R entries, host and device copies; entry r speaks of
// logits[r]. ids i32 [R]; last_token i32 [max_sequences]: ids[r] is also stored at
// last_token[rows[r].sequence]. For a row of padding nothing is written. cuda: V <= 262,144, and parameters
// are read from the device copy alone, so a captured launch draws for whatever rows it finds there.
// Candidates are ordered by logit, highest first, equal logits by the lower id. Filters in this order:
//   temperature  weight w = exp((logit − max) / temperature)
//   top_k        the first k of the order
//   top_p        the shortest prefix of those whose weights reach top_p of their sum
//   min_p        those with w >= min_p (the best has w = 1)
// The draw walks the survivors by id, lowest first, to the first whose running sum exceeds
// sampling_uniform() · sum; the last survivor where rounding leaves none. A NaN logit counts as −inf, of
// several +inf each has w = 1; a row without any logit above −inf gives id 0.
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token);

}  // namespace batchmax::kernels
