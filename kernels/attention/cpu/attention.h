// The CPU ops with what is otherwise chosen as an argument: the instruction set (the dispatch passes
// best_isa()), and how decode is shared out (by the number of rows). Tests pass each in turn.
#pragma once

#include <cstdint>

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"
#include "kernels/core/cpu/isa.h"

namespace batchmax::kernels::cpu {

void prefill_attention(const PrefillAttention& args, Isa isa);
void prefill_mass(const PrefillMass& args, Isa isa);

enum class DecodeShare : uint8_t {
  heads,   // a thread takes all slots of a (row, KV head)
  chunks,  // or of a chunk of it; joined when all are done
};
void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa, DecodeShare share);
void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa);

}  // namespace batchmax::kernels::cpu
