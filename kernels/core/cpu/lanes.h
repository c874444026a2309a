// Sixteen floats at a time, in the compiler's vector extension: one register with AVX-512, two with AVX2,
// four in the baseline. For the loops of kernels/core/cpu/isa.h. Results come back through references:
// vectors wider than the baseline's registers have no stable way to be returned.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cpu {

inline constexpr int kLanes = 16;
using Floats = float __attribute__((vector_size(64), aligned(4), may_alias));
using Words = uint32_t __attribute__((vector_size(64), aligned(4), may_alias));
using Integers = int32_t __attribute__((vector_size(64), aligned(4), may_alias));
using Halves = uint16_t __attribute__((vector_size(32), aligned(2), may_alias));

[[gnu::always_inline]] inline void load(const float* from, Floats& to) {
  to = *reinterpret_cast<const Floats*>(from);
}
[[gnu::always_inline]] inline void load(const bf16* from, Floats& to) {
  to = (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16);
}

[[gnu::always_inline]] inline void store(const Floats& from, float* to) {
  *reinterpret_cast<Floats*>(to) = from;
}
// Rounds as to_bf16 does.
[[gnu::always_inline]] inline void store(const Floats& from, bf16* to) {
  const Words bits = (Words)from;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words quiet = (bits >> 16) | 0x40;
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector(from != from ? quiet : rounded, Halves);
}
[[gnu::always_inline]] inline void store_one(float value, float* to) { *to = value; }
[[gnu::always_inline]] inline void store_one(float value, bf16* to) { *to = to_bf16(value); }

// Sum of the lanes, in a fixed order.
[[gnu::always_inline]] inline float total(const Floats& lanes) {
  float pairs[8];
  for (int i = 0; i < 8; ++i) pairs[i] = lanes[i] + lanes[i + 8];
  return ((pairs[0] + pairs[4]) + (pairs[2] + pairs[6])) + ((pairs[1] + pairs[5]) + (pairs[3] + pairs[7]));
}

// e^x to about 2 units in the last place; 0 below −87.3, e^88 above 88; NaN stays NaN. Range reduction and
// coefficients: expf of the Cephes library (Moshier).
[[gnu::always_inline]] inline void exponential(const Floats& x, Floats& to) {
  const Floats zero = {};
  const Floats capped = x > 88.0F ? zero + 88.0F : x;
  const Floats magic = capped * 1.44269504F + 12582912.0F;  // 1.5 · 2²³: the rounded integer in the low bits
  const Floats n = magic - 12582912.0F;
  const Floats r = capped - n * 0.693359375F + n * 2.12194440e-4F;
  Floats series = r * 1.9875691500e-4F + 1.3981999507e-3F;
  series = series * r + 8.3334519073e-3F;
  series = series * r + 4.1665795894e-2F;
  series = series * r + 1.6666665459e-1F;
  series = series * r + 5.0000001201e-1F;
  series = series * r * r + r + 1.0F;
  const Floats power = (Floats)(((Words)magic + 127) << 23);
  to = x < -87.3F ? zero : series * power;
}

}  // namespace batchmax::kernels::cpu
