// Sixteen bytes at a time, dtype dispatch and checks inside of kernels: what the memory-bound kernels share.
// Every Buffer and Arena piece is 256-byte aligned, so a row of T can be read in vectors wherever its length
// is a multiple of kVec<T>.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cuda {

// Elements of one 16-byte access.
template <typename T>
inline constexpr int kVec = 16 / sizeof(T);

// 16 bytes of T in registers.
template <typename T>
struct alignas(16) Vec {
  T at[kVec<T>];
};

// `from` and `to` are 16-byte aligned. One LDG.128 or STG.128 each.
template <typename T>
__device__ inline Vec<T> load_vec(const T* from) {
  return __builtin_bit_cast(Vec<T>, *reinterpret_cast<const uint4*>(from));
}
template <typename T>
__device__ inline void store_vec(T* to, const Vec<T>& value) {
  *reinterpret_cast<uint4*>(to) = __builtin_bit_cast(uint4, value);
}

// The device's own conversion, to the nearest even as to_bf16: one instruction for two values.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
template <typename T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return bf16{static_cast<uint16_t>(pack_bf16(value, 0.0F))};
  }
}

template <typename T>
__device__ inline void to_floats(const Vec<T>& from, float (&to)[kVec<T>]) {
#pragma unroll
  for (int i = 0; i < kVec<T>; ++i) to[i] = to_float(from.at[i]);
}
template <typename T>
__device__ inline Vec<T> from_floats(const float (&from)[kVec<T>]) {
  Vec<T> to;
  if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < kVec<T>; ++i) to.at[i] = from[i];
  } else {
    uint4 words;
    words.x = pack_bf16(from[0], from[1]);
    words.y = pack_bf16(from[2], from[3]);
    words.z = pack_bf16(from[4], from[5]);
    words.w = pack_bf16(from[6], from[7]);
    to = __builtin_bit_cast(Vec<T>, words);
  }
  return to;
}

// N neighbours as fp32, read and written in the widest accesses that N elements fill: `from` and `to` are
// aligned to N * sizeof(T) bytes, or to 16 where that is more. N = 1 is the path of odd lengths.
template <int N, typename T>
__device__ inline void load_floats(const T* from, float (&to)[N]) {
  if constexpr (N % kVec<T> == 0) {
#pragma unroll
    for (int i = 0; i < N; i += kVec<T>) {
      const Vec<T> part = load_vec(from + i);
#pragma unroll
      for (int j = 0; j < kVec<T>; ++j) to[i + j] = to_float(part.at[j]);
    }
  } else {
    static_assert(N == 1, "a whole number of 16-byte accesses, or one element");
    to[0] = to_float(from[0]);
  }
}
template <int N, typename T>
__device__ inline void store_floats(T* to, const float (&from)[N]) {
  if constexpr (N == 1) {
    to[0] = from_float<T>(from[0]);
  } else if constexpr (N * sizeof(T) == 8) {  // four of a row that is read as fp32 and kept as bf16
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]));
  } else {
#pragma unroll
    for (int i = 0; i < N; i += kVec<T>) {
      float part[kVec<T>];
#pragma unroll
      for (int j = 0; j < kVec<T>; ++j) part[j] = from[i + j];
      store_vec(to + i, from_floats<T>(part));
    }
  }
}

// A broken promise of the host ends the kernel, and with it the group: the next call reports a launch
// failure.
__device__ inline void device_check(bool holds) {
  if (!holds) __trap();
}

// Sum over the warp; every lane gets the same bits.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffU, value, offset);
  return value;
}

// work(T{}) for the float type that `dtype` names: f32 or bf16, which the op's dispatch has checked.
template <typename Work>
void on_float_type(DType dtype, Work&& work) {
  dtype == DType::bf16 ? std::forward<Work>(work)(bf16{}) : std::forward<Work>(work)(float{});
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace batchmax::kernels::cuda
