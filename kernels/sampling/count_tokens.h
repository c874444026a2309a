// Which tokens a sequence has seen, and how often it drew them: what penalties are computed from. Counted
// from the tokens that each step processes, so that nothing waits for the host: a token that is drawn is
// counted by the step that it feeds, before that step draws.
#pragma once

#include <cstdint>

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// Trivially copyable; the plan carries them as bytes.
struct CountRow {
  int32_t sequence;      // whose counts; kNoSequence: padding
  int32_t token_begin;   // its tokens of this step, in the step's token tensors
  int32_t token_count;   // 1 (decode) or the block's length
  int32_t prompt_count;  // the first that many belong to the prompt, the rest to the output
  int32_t restart;       // 1: the sequence begins, what its place held is forgotten; else 0
};
static_assert(sizeof(CountRow) == 20);

// counts[s][id] = 2 · (times that id was output) + (1 if the prompt holds id), of sequence s.
inline int32_t count_in_output(int32_t count) { return count >> 1; }

// rows: host and device copies, no sequence twice. ids i32 [T]; counts i32 [S, V]. cuda: rows are read from
// the device copy alone and the grid depends on `rows`: a captured launch counts whatever rows it finds
// there.
void count_tokens(const Stream& stream, const CountRow* rows_host, const CountRow* rows_data, int32_t rows,
                  const Tensor& ids, const Tensor& counts);

}  // namespace batchmax::kernels
