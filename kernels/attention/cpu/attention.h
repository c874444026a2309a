// The CPU ops with the instruction set as an argument: the dispatch passes best_isa(), tests pass each in
// turn.
#pragma once

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"
#include "kernels/core/cpu/isa.h"

namespace batchmax::kernels::cpu {

void prefill_attention(const PrefillAttention& args, Isa isa);
void prefill_mass(const PrefillMass& args, Isa isa);
void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa);

}  // namespace batchmax::kernels::cpu
