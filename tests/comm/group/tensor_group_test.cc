#include "comm/group/tensor_group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tests/comm/group/ranks.h"

namespace batchmax::comm {
namespace {

using kernels::bf16;
using kernels::DType;
using kernels::Stream;
using kernels::Tensor;

// A tensor with its memory, and values that every rank can work out for every rank.
class Values {
 public:
  Values(DType dtype, int64_t rows, int64_t columns, int rank, uint32_t seed)
      : memory_(static_cast<size_t>(rows * columns) * kernels::size_of(dtype)),
        tensor_(memory_.data(), dtype, {rows, columns}) {
    std::mt19937 random(seed * 64 + static_cast<uint32_t>(rank));
    // Magnitudes far apart, so that another order of the sum gives other bits.
    for (int64_t i = 0; i < tensor_.elements(); ++i) {
      const float mantissa = static_cast<float>(random()) * 0x1p-31F - 1;
      set(i, std::ldexp(mantissa, static_cast<int>(random() % 20) - 10));
    }
  }
  const Tensor& tensor() const { return tensor_; }
  const std::vector<std::byte>& memory() const { return memory_; }
  float get(int64_t i) const {
    return tensor_.dtype() == DType::f32 ? tensor_.as<float>()[i] : kernels::to_float(tensor_.as<bf16>()[i]);
  }
  void set(int64_t i, float value) {
    if (tensor_.dtype() == DType::f32) {
      tensor_.as<float>()[i] = value;
    } else {
      tensor_.as<bf16>()[i] = kernels::to_bf16(value);
    }
  }

 private:
  std::vector<std::byte> memory_;
  Tensor tensor_;
};

Values expected_sum(DType dtype, int64_t rows, int64_t columns, int size, uint32_t seed) {
  std::vector<Values> inputs;
  for (int rank = 0; rank < size; ++rank) inputs.emplace_back(dtype, rows, columns, rank, seed);
  Values result(dtype, rows, columns, 0, seed);
  for (int64_t i = 0; i < rows * columns; ++i) {
    float sum = inputs[0].get(i);
    for (int rank = 1; rank < size; ++rank) sum += inputs[static_cast<size_t>(rank)].get(i);
    result.set(i, sum);
  }
  return result;
}

void on_groups(const std::function<void(TensorGroup&, const Stream&)>& body) {
  for (const int size : group_sizes()) {
    on_all_ranks(size, [&](ControlGroup&, TensorGroup& group) {
      EXPECT_EQ(group.size(), size);
      const Stream stream = Stream::cpu();
      body(group, stream);
    });
  }
}

// Bit by bit: the order of the sum is fixed and the rounding is one.
TEST(TensorGroup, AllReducesInRankOrder) {
  on_groups([](TensorGroup& group, const Stream& stream) {
    uint32_t seed = 0;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      // Smaller than the group, odd, and large enough for every way an implementation has.
      for (const int64_t columns : {1, 2, 3, 31, 33, 1000, 4099, 40'001, 300'007}) {
        ++seed;
        Values values(dtype, 1, columns, group.rank(), seed);
        const Tensor tensor = values.tensor();
        group.all_reduce(stream, std::span(&tensor, 1));
        EXPECT_EQ(values.memory(), expected_sum(dtype, 1, columns, group.size(), seed).memory())
            << kernels::name_of(dtype) << " " << columns;
      }
    }
  });
}

TEST(TensorGroup, AllReducesAListInOneCall) {
  on_groups([](TensorGroup& group, const Stream& stream) {
    for (uint32_t round = 0; round < 20; ++round) {
      const int64_t rows = 1 + round * 7 % 11;
      Values output(round % 2 == 0 ? DType::bf16 : DType::f32, rows, 777, group.rank(), 1000 + round);
      Values scores(DType::f32, 3, 4000 * (round % 4) + 5, group.rank(), 2000 + round);
      const std::array<Tensor, 2> both = {output.tensor(), scores.tensor()};
      group.all_reduce(stream, both);
      EXPECT_EQ(output.memory(),
                expected_sum(output.tensor().dtype(), rows, 777, group.size(), 1000 + round).memory());
      EXPECT_EQ(scores.memory(),
                expected_sum(DType::f32, 3, 4000 * (round % 4) + 5, group.size(), 2000 + round).memory());
    }
  });
}

TEST(TensorGroup, AllGathersColumns) {
  on_groups([](TensorGroup& group, const Stream& stream) {
    uint32_t seed = 50;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const auto& [rows, columns] :
           {std::pair<int64_t, int64_t>{1, 1}, {1, 1000}, {5, 3}, {7, 20'000}}) {
        ++seed;
        const Values part(dtype, rows, columns, group.rank(), seed);
        const Values whole(dtype, rows, columns * group.size(), 99, seed);
        group.all_gather(stream, part.tensor(), whole.tensor());
        for (int rank = 0; rank < group.size(); ++rank) {
          const Values theirs(dtype, rows, columns, rank, seed);
          for (int64_t row = 0; row < rows; ++row) {
            for (int64_t column = 0; column < columns; ++column) {
              ASSERT_EQ(whole.get((row * group.size() + rank) * columns + column),
                        theirs.get(row * columns + column))
                  << "row " << row << " column " << column << " of rank " << rank;
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace batchmax::comm
