// The ops of this folder per backend; shapes and dtypes have been checked by the dispatch.
#pragma once

#include "kernels/sampling/gather_tokens.h"
#include "kernels/sampling/sample.h"

namespace batchmax::kernels {

namespace cpu {
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token);
void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids);
}  // namespace cpu
namespace cuda {
void sample(const Stream& stream, const Tensor& logits, const SampleRow* rows_host,
            const SampleRow* rows_data, const Tensor& ids, const Tensor& last_token);
void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids);
}  // namespace cuda

}  // namespace batchmax::kernels
