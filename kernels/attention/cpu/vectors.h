// Vectors of W floats in the compiler's extension, for the tiles_*.cc only: compiled once per instruction
// set, so all of it has internal linkage (see tile_code.h).
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cpu {
namespace {

template <int W>
struct Vectors {
  typedef float F __attribute__((vector_size(W * 4)));
  typedef uint32_t U __attribute__((vector_size(W * 4)));
  typedef uint16_t H __attribute__((vector_size(W * 2)));
  // For memory of any type that is aligned to its elements only.
  typedef float FLoose __attribute__((vector_size(W * 4), aligned(4), may_alias));
  typedef uint32_t ULoose __attribute__((vector_size(W * 4), aligned(2), may_alias));
  typedef uint16_t HLoose __attribute__((vector_size(W * 2), aligned(2), may_alias));
};

template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F load(const float* from) {
  return *reinterpret_cast<const typename Vectors<W>::FLoose*>(from);
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F load(const bf16* from) {
  using V = Vectors<W>;
  return (typename V::F)(
      __builtin_convertvector(*reinterpret_cast<const typename V::HLoose*>(from), typename V::U) << 16);
}
template <int W>
[[gnu::always_inline]] inline void store(float* to, const typename Vectors<W>::F& value) {
  *reinterpret_cast<typename Vectors<W>::FLoose*>(to) = value;
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F splat(float value) {
  // As words: 0.0F + value is an addition that the compiler may not leave out.
  return (typename Vectors<W>::F)(typename Vectors<W>::U{} + __builtin_bit_cast(uint32_t, value));
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F larger(const typename Vectors<W>::F& a,
                                                            const typename Vectors<W>::F& b) {
  return a > b ? a : b;
}

// A constant of lane indices. (Filled lane by lane in the code that uses it, GCC 12 does so each time.)
template <int W, auto IndexOf>
[[gnu::always_inline]] inline typename Vectors<W>::U lanes() {
  struct Table {
    alignas(64) uint32_t at[W];
  };
  static constexpr Table kTable = [] {
    Table table{};
    for (uint32_t i = 0; i < W; ++i) table.at[i] = IndexOf(i);
    return table;
  }();
  return *reinterpret_cast<const typename Vectors<W>::ULoose*>(kTable.at);
}

// A vector is folded in halves.
template <int W, uint32_t Distance = W / 2>
[[gnu::always_inline]] inline float largest(typename Vectors<W>::F value) {
  value = larger<W>(value, __builtin_shuffle(value, lanes<W, [](uint32_t i) { return i ^ Distance; }>()));
  if constexpr (Distance > 1) return largest<W, Distance / 2>(value);
  return value[0];
}
template <int W, uint32_t Distance = W / 2>
[[gnu::always_inline]] inline float total(typename Vectors<W>::F value) {
  value += __builtin_shuffle(value, lanes<W, [](uint32_t i) { return i ^ Distance; }>());
  if constexpr (Distance > 1) return total<W, Distance / 2>(value);
  return value[0];
}

// 2^x for x <= 127, 0 below −126 (also for −inf), NaN for NaN. x = n + r with n the nearest integer; 2^r by a
// polynomial of degree 5 whose largest relative error on |r| <= 1/2 is least (Lawson iteration, constant term
// 1): 9.1e-8, 1.6e-7 with fp32's rounding.
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F power_of_two(const typename Vectors<W>::F& x) {
  using V = Vectors<W>;
  const typename V::F magic = x + 12582912.0F;  // 1.5 · 2^23: the integer ends in the low bits
  const typename V::F r = x - (magic - 12582912.0F);
  typename V::F series = r * 1.32647273e-3F + 9.67151299e-3F;
  series = series * r + 5.55073358e-2F;
  series = series * r + 2.40222424e-1F;
  series = series * r + 6.93147004e-1F;
  series = series * r + 1.0F;
  const typename V::F power = (typename V::F)((typename V::U)series + ((typename V::U)magic << 23));
  return x < splat<W>(-126.0F) ? typename V::F{} : power;  // what r and power held there does not matter
}

// block[i] lane j <-> block[j] lane i, by exchanging ever larger quarters.
template <int W, int Distance = 1>
[[gnu::always_inline]] inline void transpose(typename Vectors<W>::U (&block)[W]) {
  using U = typename Vectors<W>::U;
  const U low = lanes<W, [](uint32_t i) { return i & Distance ? W + i - Distance : i; }>();
  const U high = lanes<W, [](uint32_t i) { return i & Distance ? W + i : i + Distance; }>();
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) {
    if ((i & Distance) == 0) {
      const U a = block[i];
      const U b = block[i + Distance];
      block[i] = __builtin_shuffle(a, b, low);
      block[i + Distance] = __builtin_shuffle(a, b, high);
    }
  }
  if constexpr (Distance * 2 < W) transpose<W, Distance * 2>(block);
}

}  // namespace
}  // namespace batchmax::kernels::cpu
