// The arithmetic of scores and their total order, shared by both backends, so that both choose the same
// victims.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/core/host_device.h"

namespace batchmax::kernels {

// Rises with the score; NaN is lowest (0), −0 and +0 are equal.
BATCHMAX_HOST_DEVICE inline uint32_t order_key(float score) {
  if (score != score) return 0;
  const float value = score + 0.0F;  // −0 + 0 = +0
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);  // std::bit_cast is host code to nvcc
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

// Of two unprotected candidates the one with the lower victim_key goes first: the lower score; of equal
// scores the younger. Positions differ within a (sequence, layer, KV head), so no two keys are equal.
BATCHMAX_HOST_DEVICE inline uint64_t victim_key(uint32_t key, int32_t position) {
  return (static_cast<uint64_t>(key) << 32) | static_cast<uint32_t>(~static_cast<uint32_t>(position));
}

// Score `average`; age >= 1 (younger slots are protected).
BATCHMAX_HOST_DEVICE inline float average_score(float mass, int32_t age) {
  return mass / static_cast<float>(age);
}

// Score `key_distance` from Σ (k − R(pos) μ)². Summing the differences themselves, not ‖k‖² − 2 k·Rμ + ‖μ‖²,
// keeps keys close to the mean apart: the expanded form cancels there.
BATCHMAX_HOST_DEVICE inline float key_distance_score(float squared_difference) {
  return sqrtf(squared_difference);
}

// Score `key_diff` from k·R(pos)μ, ‖k‖², ‖μ‖²; 0 where a vector is zero and has no direction.
BATCHMAX_HOST_DEVICE inline float key_diff_score(float dot, float key_squared, float mean_squared) {
  const float norms = sqrtf(key_squared) * sqrtf(mean_squared);
  return norms == 0.0F ? 0.0F : -dot / norms;
}

}  // namespace batchmax::kernels
