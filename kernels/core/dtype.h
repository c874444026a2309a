// Element types of tensors. bf16 is stored as its 16 bits; arithmetic is always fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/host_device.h"

namespace batchmax::kernels {

enum class DType : uint8_t { f32, bf16, i32, i64, u8 };

BATCHMAX_HOST_DEVICE constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::f32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::i32:
      return 4;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}
const char* name_of(DType type);

struct bf16 {
  uint16_t bits;
};

// Compiler builtins instead of std::bit_cast and std::isnan: device code may call no constexpr function of
// the host.
BATCHMAX_HOST_DEVICE inline float to_float(float value) { return value; }
BATCHMAX_HOST_DEVICE inline float to_float(bf16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}

// Round to nearest even; NaN stays NaN.
BATCHMAX_HOST_DEVICE inline bf16 to_bf16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if (value != value) return bf16{static_cast<uint16_t>((bits >> 16) | 0x40)};
  return bf16{static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

template <typename T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct dtype_of<uint8_t> {
  static constexpr DType value = DType::u8;
};

}  // namespace batchmax::kernels
