#include "kernels/core/tensor.h"

#include <gtest/gtest.h>

namespace batchmax::kernels {
namespace {

TEST(Tensor, DescribesItself) {
  EXPECT_EQ(Tensor(nullptr, DType::bf16, {3, 64}).describe(), "bf16[3, 64]");
  EXPECT_EQ(Tensor(nullptr, DType::i32, {7}).describe(), "i32[7]");
}

TEST(Tensor, CountsElementsAndBytes) {
  const Tensor tensor(nullptr, DType::bf16, {3, 5, 7});
  EXPECT_EQ(tensor.rank(), 3);
  EXPECT_EQ(tensor.elements(), 105);
  EXPECT_EQ(tensor.bytes(), 210U);
  EXPECT_EQ(Tensor(nullptr, DType::f32, {0, 9}).bytes(), 0U);
}

TEST(Tensor, CutsRowsOfTheFirstDimension) {
  float data[24];
  const Tensor tensor(data, DType::f32, {4, 3, 2});
  const Tensor part = tensor.rows(1, 2);
  EXPECT_EQ(part.data(), data + 6);
  EXPECT_EQ(part.describe(), "f32[2, 3, 2]");
  EXPECT_EQ(tensor.rows(4, 0).elements(), 0);
  EXPECT_EQ(tensor.rows(2, 1).rows(0, 1).data(), data + 12);
}

TEST(TensorDeathTest, RefusesRowsOutsideAndOtherTypes) {
  float data[4];
  const Tensor tensor(data, DType::f32, {4});
  EXPECT_DEATH(tensor.rows(3, 2), "CHECK failed");
  EXPECT_DEATH(tensor.rows(-1, 1), "CHECK failed");
  EXPECT_DEATH(tensor.as<bf16>(), "CHECK failed");
}

TEST(Dims, BindsNamesOverTensors) {
  float data[64];
  const Tensor q(data, DType::f32, {3, 2, 8});
  const Tensor lse(data, DType::f32, {3, 2});
  Dims dims("op");
  dims.match("q", q, {"T", "H", "D"}).match("lse", lse, {"T", "H"}).match("q", q, {"3", "2", "8"});
  dims.dtype("q", q, {DType::bf16, DType::f32});
  EXPECT_EQ(dims["T"], 3);
  EXPECT_EQ(dims["H"], 2);
  EXPECT_EQ(dims["D"], 8);
}

TEST(DimsDeathTest, NamesOpTensorAndWhatDisagrees) {
  float data[64];
  const Tensor q(data, DType::f32, {3, 2, 8});
  Dims dims("some_op");
  dims.match("q", q, {"T", "H", "D"});
  EXPECT_DEATH(dims.match("k", Tensor(data, DType::f32, {4, 2, 8}), {"T", "H", "D"}),
               "k.*T = 3.*f32.4, 2, 8.*some_op");
  EXPECT_DEATH(dims.match("k", Tensor(data, DType::f32, {3, 2}), {"T", "H", "D"}), "k.*f32.3, 2.*some_op");
  EXPECT_DEATH(dims.match("k", q, {"T", "4", "D"}), "k.*4.*some_op");
  EXPECT_DEATH(dims.match("k", Tensor(), {"T"}), "k.*absent.*some_op");
  EXPECT_DEATH(dims.dtype("q", q, {DType::bf16, DType::i32}), "q.*bf16 or i32.*f32.*some_op");
  EXPECT_DEATH(dims["X"], "X.*some_op");
}

}  // namespace
}  // namespace batchmax::kernels
