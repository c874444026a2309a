// Draws the next token of each row from its logits. Greedy at temperature 0. Random numbers are counter-based,
// keyed by (seed, choice, position): the same request gives the same draw on every rank, backend and replay.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// Trivially copyable; the plan carries them as bytes.
struct SampleRow {
  uint64_t seed;
  int32_t choice;    // index of the choice within the request (n > 1)
  int32_t position;  // of the token that is drawn
  float temperature; // 0: greedy, first of equal logits
  float top_p;       // (0, 1]; 1: off
  float min_p;       // [0, 1]; 0: off
  int32_t top_k;     // 0: off
  int32_t token;     // row of the step's token tensors whose logits these are
  int32_t sequence;  // where the drawn id is kept for the next step: last_token[sequence]
};
static_assert(sizeof(SampleRow) == 40);

// Uniform in [0, 1), 24 bits; Philox 4x32-10 (Salmon et al., SC 2011).
float sampling_uniform(uint64_t seed, int32_t choice, int32_t position);

// logits [R, V] fp32 (may be overwritten). rows: R entries, host and device copies. Filters in this order: temperature, top_k,
// top_p, min_p; ties of equal probability by the lower id. ids i32 [R]; last_token i32 [max_sequences].
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host, const SampleRow* rows_data,
            const Tensor& ids, const Tensor& last_token);

}  // namespace batchmax::kernels
