#include "kernels/attention/cpu/tiles.h"

#include <cmath>
#include <limits>

#include "tests/kernels/attention/scene.h"

namespace batchmax::kernels::cpu {
namespace {

TEST(Tiles, ExponentialsAreAccurate) {
  std::vector<float> x;
  for (float value = -126.0F; value <= 127.0F; value += 0.00371F) x.push_back(value);
  std::vector<float> result(x.size());
  for (const auto& level : testing::levels(Backend::cpu)) {
    tiles_for(level.isa, DType::bf16, DType::bf16)
        .exp2(x.data(), static_cast<int32_t>(x.size()), result.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp2(static_cast<double>(x[i]));
      ASSERT_NEAR(static_cast<double>(result[i]) / expected, 1.0, 3e-7) << level.name << " 2^" << x[i];
    }
  }
}

TEST(Tiles, ExponentialsOfVerySmallNumbersAreZero) {
  const float x[] = {-126.01F, -1e6F, -1e30F, -std::numeric_limits<float>::infinity(), 0.0F};
  for (const auto& level : testing::levels(Backend::cpu)) {
    float result[5];
    tiles_for(level.isa, DType::f32, DType::f32).exp2(x, 5, result);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(result[i], 0.0F) << level.name << " 2^" << x[i];
    EXPECT_EQ(result[4], 1.0F) << level.name;
  }
}

TEST(Tiles, PairsAreForBf16OnBothSidesOnly) {
  for (const auto& level : testing::levels(Backend::cpu)) {
    EXPECT_FALSE(tiles_for(level.isa, DType::f32, DType::bf16).paired) << level.name;
    EXPECT_FALSE(tiles_for(level.isa, DType::bf16, DType::f32).paired) << level.name;
    EXPECT_EQ(tiles_for(level.isa, DType::bf16, DType::bf16).paired, level.isa >= Isa::avx512_bf16)
        << level.name;
  }
}

}  // namespace
}  // namespace batchmax::kernels::cpu
