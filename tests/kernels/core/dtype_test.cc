#include "kernels/core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

namespace batchmax::kernels {
namespace {

TEST(DTypes, HaveSizesAndNames) {
  EXPECT_EQ(size_of(DType::f32), sizeof(float));
  EXPECT_EQ(size_of(DType::bf16), sizeof(bf16));
  EXPECT_EQ(size_of(DType::i32), sizeof(int32_t));
  EXPECT_EQ(size_of(DType::i64), sizeof(int64_t));
  EXPECT_EQ(size_of(DType::u8), sizeof(uint8_t));
  EXPECT_EQ(std::string(name_of(DType::f32)), "f32");
  EXPECT_EQ(std::string(name_of(DType::bf16)), "bf16");
  EXPECT_EQ(std::string(name_of(DType::i32)), "i32");
  EXPECT_EQ(std::string(name_of(DType::i64)), "i64");
  EXPECT_EQ(std::string(name_of(DType::u8)), "u8");
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  // 1 + 2^-7 is the neighbour of 1; 1 + 2^-8 lies half way, 1 + 3 · 2^-8 half way to the next.
  EXPECT_EQ(to_float(to_bf16(1.0F + 0x1p-8F)), 1.0F);
  EXPECT_EQ(to_float(to_bf16(1.0F + 3 * 0x1p-8F)), 1.0F + 0x1p-6F);
  EXPECT_EQ(to_float(to_bf16(1.0F + 0x1p-8F + 0x1p-20F)), 1.0F + 0x1p-7F);
  EXPECT_EQ(to_float(to_bf16(-1.0F - 0x1p-8F - 0x1p-20F)), -1.0F - 0x1p-7F);
}

TEST(Bf16, KeepsEveryOneOfItsOwnValues) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 value{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(value))) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(to_float(value))))) << bits;
    } else {
      EXPECT_EQ(to_bf16(to_float(value)).bits, bits);
    }
  }
}

TEST(Bf16, KeepsInfinitiesAndNans) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(to_bf16(infinity)), infinity);
  EXPECT_EQ(to_float(to_bf16(-infinity)), -infinity);
  EXPECT_EQ(to_float(to_bf16(std::numeric_limits<float>::max())), infinity);
  // A NaN whose payload lies in the bits that are cut off.
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001U)))));
}

}  // namespace
}  // namespace batchmax::kernels
