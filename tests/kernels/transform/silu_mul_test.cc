#include "kernels/transform/silu_mul.h"

#include <cmath>
#include <limits>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class SiluMul : public OnBackend {};
BATCHMAX_ON_BACKENDS(SiluMul);

TEST_P(SiluMul, EqualsTheFormula) {
  std::mt19937 random(3);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t width : {1, 15, 16, 17, 200, 1376}) {
      const int64_t tokens = 21;
      const auto gate_up = random_floats(random, static_cast<size_t>(tokens * 2 * width), dtype, 8.0F);
      std::vector<double> expected;
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < width; ++i) {
          const double gate = static_cast<double>(gate_up[static_cast<size_t>(t * 2 * width + i)]);
          const double up = static_cast<double>(gate_up[static_cast<size_t>(t * 2 * width + width + i)]);
          expected.push_back(gate / (1.0 + std::exp(-gate)) * up);
        }
      }
      const Array in = Array::of_floats(stream_, dtype, gate_up, {tokens, 2 * width});
      const Array out(stream_, dtype, {tokens, width});
      silu_mul(stream_, in.tensor(), out.tensor());
      expect_close(out.read_floats(stream_), expected, 1e-6, dtype == DType::bf16 ? 1.0 / 256 : 2e-6, "out");
    }
  }
}

TEST_P(SiluMul, ExtremeGatesNeitherOverflowNorLoseNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> gate_up(40, 1.0F);
  const std::vector<float> gates{-1e30F, -200.0F, -88.5F, 88.5F, 200.0F, 1e30F, infinity, std::nanf("")};
  for (size_t i = 0; i < 20; ++i) gate_up[i] = gates[i % gates.size()];
  const Array in(stream_, gate_up, {1, 40});
  const Array out(stream_, DType::f32, {1, 20});
  silu_mul(stream_, in.tensor(), out.tensor());
  const std::vector<float> values = out.read<float>(stream_);
  for (size_t i = 0; i < 20; ++i) {  // 16 in a vector, 4 behind it
    const float gate = gate_up[i];
    if (std::isnan(gate)) {
      EXPECT_TRUE(std::isnan(values[i]));
    } else if (gate < 0) {
      EXPECT_LE(std::abs(values[i]), 1e-6F) << gate;
    } else {
      EXPECT_EQ(values[i], gate);
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
