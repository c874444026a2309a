// Ways of the CUDA ops between which the device or the number of rows chooses: tests and benchmarks take each
// in turn.
#pragma once

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"

namespace batchmax::kernels::cuda {

enum class DecodeCut : uint8_t {
  whole,   // a thread block takes all slots of a (row, KV head)
  pieces,  // a block for each piece, joined by a second kernel; not with mass
};
// DecodeCut::pieces: the workspace is that of fewer than 256 (row, KV head), or no cut is possible.
void decode_attention(const Stream& stream, const DecodeAttention& args, bool with_mass, DecodeCut cut);

// As on devices that are not Hopper.
void prefill_attention_mma_sync(const Stream& stream, const PrefillAttention& args);
void prefill_mass_mma_sync(const Stream& stream, const PrefillMass& args);

}  // namespace batchmax::kernels::cuda
