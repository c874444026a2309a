// The ops of this folder per backend; shapes and dtypes have been checked by the dispatch.
#pragma once

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"

namespace batchmax::kernels {

namespace cpu {
void prefill_attention(const PrefillAttention& args);
void prefill_mass(const PrefillMass& args);
void decode_attention(const DecodeAttention& args, bool with_mass);
size_t decode_workspace_bytes(int64_t rows, int64_t query_heads, int64_t head_dim);
}  // namespace cpu

namespace cuda {
void prefill_attention(const Stream& stream, const PrefillAttention& args);
void prefill_mass(const Stream& stream, const PrefillMass& args);
void decode_attention(const Stream& stream, const DecodeAttention& args);
void decode_attention_mass(const Stream& stream, const DecodeAttention& args);
size_t decode_workspace_bytes(const Stream& stream, int64_t rows, int64_t query_heads, int64_t head_dim);
}  // namespace cuda

}  // namespace batchmax::kernels
