// The inner loops of the key scores over one run of candidates.
// A key k of position p is R(p) u: rotating back gives u, rotating the mean μ of u forward gives what k is
// compared with. One thread each.
#pragma once

#include "kernels/core/cpu/isa.h"
#include "kernels/eviction/cpu/candidate_runs.h"

namespace batchmax::kernels::cpu {

// One sequence's rotations: cos and sin of position p at [p * half].
struct Rotations {
  const float* cos;
  const float* sin;
  int32_t half;  // head_dim / 2, a multiple of 16
};

// sum [2 half] = Σ u over the run.
void sum_unrotated(Isa isa, DType dtype, const Run& run, const Rotations& rotations, float* sum);
// out[i] = Σ (k − R μ)², one per key. mean [2 half].
void squared_distances(Isa isa, DType dtype, const Run& run, const Rotations& rotations, const float* mean,
                       float* out);
// dots[i] = k·R μ, squares[i] = ‖k‖². mean [2 half].
void key_products(Isa isa, DType dtype, const Run& run, const Rotations& rotations, const float* mean,
                  float* dots, float* squares);

}  // namespace batchmax::kernels::cpu
