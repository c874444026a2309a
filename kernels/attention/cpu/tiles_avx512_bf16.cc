// Dot products of bf16 pairs (vdpbf16ps): twice the rate of fp32, products exact, sums fp32.
#include "kernels/attention/cpu/pair_steps.h"

namespace batchmax::kernels::cpu {

Tiles avx512_bf16_tiles() { return tiles<PairSteps>(); }

}  // namespace batchmax::kernels::cpu
