#include "kernels/transform/rms_norm.h"

#include <cmath>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class RmsNorm : public OnBackend {};
BATCHMAX_ON_BACKENDS(RmsNorm);

constexpr float kEps = 1e-5F;
constexpr double kRelative[] = {1e-5, 1.0 / 256};  // fp32, bf16: one rounding of 8 bits
double tolerance(DType dtype) { return kRelative[dtype == DType::bf16 ? 1 : 0]; }

std::vector<double> reference_norm(const std::vector<float>& x, const std::vector<float>& weight) {
  const size_t d = weight.size();
  std::vector<double> out;
  for (size_t t = 0; t < x.size() / d; ++t) {
    double squares = 0;
    for (size_t i = 0; i < d; ++i)
      squares += static_cast<double>(x[t * d + i]) * static_cast<double>(x[t * d + i]);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(kEps));
    for (size_t i = 0; i < d; ++i) {
      out.push_back(static_cast<double>(x[t * d + i]) * scale * static_cast<double>(weight[i]));
    }
  }
  return out;
}

TEST_P(RmsNorm, EqualsTheFormula) {
  std::mt19937 random(1);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t d : {1, 5, 16, 63, 64, 576, 2048, 4100, 5120, 16392}) {
      for (const int64_t tokens : {1, 3, 37}) {
        const auto x = random_floats(random, static_cast<size_t>(tokens * d), dtype, 3.0F);
        const auto weight = random_floats(random, static_cast<size_t>(d), dtype);
        const Array x_array = Array::of_floats(stream_, dtype, x, {tokens, d});
        const Array weight_array = Array::of_floats(stream_, dtype, weight, {d});
        const Array out(stream_, dtype, {tokens, d});
        rms_norm(stream_, x_array.tensor(), weight_array.tensor(), kEps, out.tensor());
        expect_close(out.read_floats(stream_), reference_norm(x, weight), 1e-6, tolerance(dtype), "out");
        rms_norm(stream_, x_array.tensor(), weight_array.tensor(), kEps, x_array.tensor());
        EXPECT_EQ(x_array.read_floats(stream_), out.read_floats(stream_)) << "in place, d " << d;
      }
    }
  }
}

TEST_P(RmsNorm, ZerosStayZeros) {
  const Array x(stream_, std::vector<float>(32, 0.0F), {2, 16});
  const Array weight(stream_, std::vector<float>(16, 2.0F), {16});
  rms_norm(stream_, x.tensor(), weight.tensor(), kEps, x.tensor());
  EXPECT_EQ(x.read<float>(stream_), std::vector<float>(32, 0.0F));
}

TEST_P(RmsNorm, AddsTheResidualRoundedBeforeTheNorm) {
  std::mt19937 random(2);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t d : {1, 7, 48, 100, 1024, 5120, 16392}) {
      const int64_t tokens = 33;
      const auto n = static_cast<size_t>(tokens * d);
      const auto residual = random_floats(random, n, dtype);
      const auto delta = random_floats(random, n, dtype);
      const auto weight = random_floats(random, static_cast<size_t>(d), dtype);
      std::vector<float> sum(n);
      for (size_t i = 0; i < n; ++i) sum[i] = rounded(dtype, residual[i] + delta[i]);
      const Array residual_array = Array::of_floats(stream_, dtype, residual, {tokens, d});
      const Array delta_array = Array::of_floats(stream_, dtype, delta, {tokens, d});
      const Array weight_array = Array::of_floats(stream_, dtype, weight, {d});
      const Tensor& out = delta_array.tensor();  // the contract allows out = delta
      add_rms_norm(stream_, residual_array.tensor(), delta_array.tensor(), weight_array.tensor(), kEps, out);
      EXPECT_EQ(residual_array.read_floats(stream_), sum) << "d " << d;
      expect_close(delta_array.read_floats(stream_), reference_norm(sum, weight), 1e-6, tolerance(dtype),
                   "out");
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
