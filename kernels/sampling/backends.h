// The ops of this folder per backend; shapes and dtypes have been checked by the dispatch.
#pragma once

#include "kernels/sampling/adjust_logits.h"
#include "kernels/sampling/count_tokens.h"
#include "kernels/sampling/gather_tokens.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/token_logprobs.h"

namespace batchmax::kernels {

namespace cpu {
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token);
void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids);
void count_tokens(const Stream& stream, const CountRow* rows_data, int32_t rows, const Tensor& ids,
                  const Tensor& counts);
void adjust_logits(const Stream& stream, const Tensor& logits, const AdjustRow* rows_data,
                   const LogitTables& tables);
void token_logprobs(const Stream& stream, const Tensor& logits, const LogprobRow* rows_data,
                    const Tensor& ids, const Tensor& results);
}  // namespace cpu
namespace cuda {
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token);
void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids);
void count_tokens(const Stream& stream, const CountRow* rows_data, int32_t rows, const Tensor& ids,
                  const Tensor& counts);
void adjust_logits(const Stream& stream, const Tensor& logits, const AdjustRow* rows_data,
                   const LogitTables& tables);
void token_logprobs(const Stream& stream, const Tensor& logits, const LogprobRow* rows_data,
                    const Tensor& ids, const Tensor& results);
}  // namespace cuda

}  // namespace batchmax::kernels
