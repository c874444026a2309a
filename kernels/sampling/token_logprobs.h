// How likely a token was, and what else was likely: log probabilities of the model's own distribution, before
// biases, penalties, temperature and cuts. For drawn tokens and for those of a prompt.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

inline constexpr int kMaxTopLogprobs = 20;

// Trivially copyable; the plan carries them as bytes.
struct LogprobRow {
  int32_t token;   // row of the step's token tensors whose logits these are
  int32_t target;  // the token that follows; −1: the drawn one, ids[sample]
  int32_t sample;  // read where target is −1
  int32_t top;     // alternatives that are wanted, 0 to 20
};
static_assert(sizeof(LogprobRow) == 16);

struct TokenLogprob {
  int32_t id;                        // the token that followed
  float logprob;                     // natural logarithm of its probability; −inf where that is 0
  int32_t rank;                      // 1: none was likelier; of equal logits the lower id comes first
  int32_t top;                       // the first of the following that hold something: min(wanted, V)
  int32_t top_ids[kMaxTopLogprobs];  // in order of rank
  float top_logprobs[kMaxTopLogprobs];
};
static_assert(sizeof(TokenLogprob) == 176);

// logits [R, V] fp32; rows: R entries, host and device copies; entry r speaks of logits[r]; ids i32 [N], as
// sample() leaves them; results u8 [R · sizeof(TokenLogprob)]: TokenLogprob [R]. With m the highest logit and
// s = Σ exp(logit − m): logprob = logit − m − log s; exp(logit − m) is 1 for logit == m, also where m is
// +inf. A NaN logit counts as −inf; of a row without any logit above −inf every logprob is −inf.
// cuda: V <= 262,144; rows are read from the device copy alone, the grid depends on R.
void token_logprobs(const Stream& stream, const Tensor& logits, const LogprobRow* rows_host,
                    const LogprobRow* rows_data, const Tensor& ids, const Tensor& results);

}  // namespace batchmax::kernels
