#include "kernels/linear/linear.h"

#include <memory>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class LinearTest : public OnBackend {
 protected:
  MatmulLibrary library_{stream_};
};
BATCHMAX_ON_BACKENDS(LinearTest);

struct Case {
  int64_t outputs, inputs;
  DType stored, compute;
  bool bias;
};

std::vector<DType> compute_dtypes(const Stream& stream) {
  if (preferred_compute(stream) == DType::f32) return {DType::f32};
  return {DType::f32, DType::bf16};
}

struct Weights {
  std::vector<float> weight, bias;  // as the layer computes with them
  std::unique_ptr<Linear> linear;
};
Weights make(const Stream& stream, const MatmulLibrary& library, const Case& c, std::mt19937& random) {
  Weights made;
  made.weight = random_floats(random, static_cast<size_t>(c.outputs * c.inputs), c.stored, 0.1F);
  made.bias = random_floats(random, static_cast<size_t>(c.outputs), c.stored, 3.0F);
  const Stream host = Stream::cpu();
  {
    const Array weight = Array::of_floats(host, c.stored, made.weight, {c.outputs, c.inputs});
    const Array bias = Array::of_floats(host, c.stored, made.bias, {c.outputs});
    made.linear = std::make_unique<Linear>(stream, library, weight.tensor(),
                                           c.bias ? bias.tensor() : Tensor(), c.compute);
    // Both are gone from here on: the layer keeps its own copy.
  }
  for (float& value : made.weight) value = rounded(c.compute, value);
  for (float& value : made.bias) value = c.bias ? rounded(c.compute, value) : 0.0F;
  return made;
}

void check(const Stream& stream, const Case& c, const Weights& made, int64_t m, DType out_dtype,
           std::mt19937& random) {
  const auto x = random_floats(random, static_cast<size_t>(m * c.inputs), c.compute);
  std::vector<double> expected;
  for (int64_t t = 0; t < m; ++t) {
    for (int64_t n = 0; n < c.outputs; ++n) {
      double sum = static_cast<double>(made.bias[static_cast<size_t>(n)]);
      for (int64_t k = 0; k < c.inputs; ++k) {
        sum += static_cast<double>(x[static_cast<size_t>(t * c.inputs + k)]) *
               static_cast<double>(made.weight[static_cast<size_t>(n * c.inputs + k)]);
      }
      expected.push_back(sum);
    }
  }
  const Array x_array = Array::of_floats(stream, c.compute, x, {m, c.inputs});
  const Array out(stream, out_dtype, {m, c.outputs});
  made.linear->run(stream, x_array.tensor(), out.tensor());
  const double relative = out_dtype == DType::bf16 ? 1.0 / 256 : 1e-5;
  expect_close(
      out.read_floats(stream), expected, 1e-4, relative,
      "m " + std::to_string(m) + " n " + std::to_string(c.outputs) + " k " + std::to_string(c.inputs));
}

TEST_P(LinearTest, MultipliesByTheTransposedWeightAndAddsTheBias) {
  std::mt19937 random(6);
  for (const DType compute : compute_dtypes(stream_)) {
    for (const DType stored : {DType::f32, DType::bf16}) {
      for (const bool bias : {false, true}) {
        for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {200, 72}, {24, 320}}) {
          const Case c{n, k, stored, compute, bias};
          const Weights made = make(stream_, library_, c, random);
          EXPECT_EQ(made.linear->inputs(), k);
          EXPECT_EQ(made.linear->outputs(), n);
          EXPECT_GE(made.linear->weight_bytes(), static_cast<size_t>(n * k) * size_of(compute));
          for (const int64_t m : {1, 2, 17, 64, 5}) check(stream_, c, made, m, compute, random);
          check(stream_, c, made, 3, DType::f32, random);
        }
      }
    }
  }
}

TEST_P(LinearTest, OddShapes) {
  std::mt19937 random(7);
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 5}, {33, 17}, {129, 65}}) {
    const Case c{n, k, DType::f32, DType::f32, true};
    const Weights made = make(stream_, library_, c, random);
    for (const int64_t m : {1, 3, 31}) check(stream_, c, made, m, DType::f32, random);
  }
}

// More batch sizes than primitives are kept, then the first ones again.
TEST_P(LinearTest, ServesEveryBatchSizeFromOnePacking) {
  std::mt19937 random(8);
  const Case c{16, 32, DType::f32, DType::f32, true};
  const Weights made = make(stream_, library_, c, random);
  const size_t bytes = made.linear->weight_bytes();
  for (int64_t m = 1; m <= 80; ++m) check(stream_, c, made, m, DType::f32, random);
  for (const int64_t m : {1, 2, 80}) check(stream_, c, made, m, DType::f32, random);
  EXPECT_EQ(made.linear->weight_bytes(), bytes);
}

// On the GPU the algorithm changes with the number of rows and with preparation; the product does not.
TEST_P(LinearTest, PreparedForSomeRowsServesAll) {
  std::mt19937 random(12);
  for (const DType compute : compute_dtypes(stream_)) {
    for (const bool bias : {false, true}) {
      const Case c{48, 256, DType::bf16, compute, bias};
      const Weights made = make(stream_, library_, c, random);
      for (const int64_t rows : {1, 3, 24, 130}) {
        made.linear->prepare(stream_, rows, compute);
        made.linear->prepare(stream_, rows, DType::f32);
      }
      for (const int64_t m : {1, 2, 3, 7, 8, 9, 23, 24, 25, 65, 128, 129, 150, 192, 193}) {
        check(stream_, c, made, m, compute, random);
        check(stream_, c, made, m, DType::f32, random);
      }
    }
  }
}

// kernels/linear/README.md: what the comparison of backends and ranks token by token stands on.
TEST_P(LinearTest, RowsOfFp32DoNotDependOnTheirBatchOnTheGpu) {
  if (stream_.backend() == Backend::cpu) GTEST_SKIP() << "oneDNN promises nothing of the kind";
  std::mt19937 random(13);
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{96, 320}, {33, 17}, {576, 1536}}) {
    const Case c{n, k, DType::f32, DType::f32, true};
    const Weights made = make(stream_, library_, c, random);
    const int64_t rows = 150;
    const Array x(stream_, random_floats(random, static_cast<size_t>(rows * k), DType::f32), {rows, k});
    const Array all(stream_, DType::f32, {rows, n});
    made.linear->run(stream_, x.tensor(), all.tensor());
    const std::vector<float> expected = all.read<float>(stream_);
    for (const int64_t m : {1, 2, 5, 16, 64, 149}) {
      const Array out(stream_, DType::f32, {m, n});
      made.linear->run(stream_, x.tensor().rows(rows - m, m), out.tensor());
      const std::vector<float> last(expected.end() - m * n, expected.end());
      EXPECT_EQ(out.read<float>(stream_), last) << "m " << m << " n " << n << " k " << k;
    }
  }
}

TEST_P(LinearTest, MovesWithItsWeights) {
  std::mt19937 random(9);
  const Case c{8, 16, DType::f32, DType::f32, false};
  Weights made = make(stream_, library_, c, random);
  Linear moved = std::move(*made.linear);
  *made.linear = std::move(moved);
  check(stream_, c, made, 2, DType::f32, random);
}

}  // namespace
}  // namespace batchmax::kernels::testing
