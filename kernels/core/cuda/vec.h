// Sixteen bytes at a time, dtype dispatch and checks inside of kernels: what the memory-bound kernels share.
// Every Buffer and Arena piece is 256-byte aligned, so a row of T can be read in vectors wherever its length
// is a multiple of kVec<T>.
#pragma once

#include <cuda_bf16.h>

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

// The device's own conversion: one instruction for two values, to the nearest even as to_bf16.
__device__ inline uint32_t pack_bf16(float low, float high) {
  return __builtin_bit_cast(uint32_t, __floats2bfloat162_rn(low, high));
}
template <typename T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return __builtin_bit_cast(bf16, __float2bfloat16_rn(value));
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
