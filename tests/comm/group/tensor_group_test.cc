#include "comm/group/tensor_group.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "kernels/core/buffer.h"
#include "tests/comm/group/ranks.h"

namespace batchmax::comm {
namespace {

using kernels::bf16;
using kernels::DType;
using kernels::Stream;
using kernels::Tensor;

// A tensor in the backend's memory, its host copy, and values that every rank can work out for every rank.
class Values {
 public:
  Values(DType dtype, int64_t rows, int64_t columns, int rank, uint32_t seed)
      : memory_(static_cast<size_t>(rows * columns) * kernels::size_of(dtype)),
        host_(memory_.data(), dtype, {rows, columns}) {
    std::mt19937 random(seed * 64 + static_cast<uint32_t>(rank));
    // Magnitudes far apart, so that another order of the sum gives other bits.
    for (int64_t i = 0; i < host_.elements(); ++i) {
      const float mantissa = static_cast<float>(random()) * 0x1p-31F - 1;
      set(i, std::ldexp(mantissa, static_cast<int>(random() % 20) - 10));
    }
  }
  const std::vector<std::byte>& memory() const { return memory_; }
  int64_t elements() const { return host_.elements(); }
  float get(int64_t i) const {
    return host_.dtype() == DType::f32 ? host_.as<float>()[i] : kernels::to_float(host_.as<bf16>()[i]);
  }
  void set(int64_t i, float value) {
    if (host_.dtype() == DType::f32) {
      host_.as<float>()[i] = value;
    } else {
      host_.as<bf16>()[i] = kernels::to_bf16(value);
    }
  }

  Tensor upload(const Stream& stream) {
    backend_ = kernels::Buffer(stream, memory_.size());
    kernels::upload(stream, backend_.data(), memory_.data(), memory_.size());
    stream.synchronize();
    return Tensor(backend_.data(), host_.dtype(), {host_.dim(0), host_.dim(1)});
  }
  void download(const Stream& stream) {
    kernels::download(stream, memory_.data(), backend_.data(), memory_.size());
    stream.synchronize();
  }

 private:
  std::vector<std::byte> memory_;
  Tensor host_;
  kernels::Buffer backend_;
};

// `got` is the sum of what all ranks had: bit by bit where the order is fixed and the rounding is one; else
// within the rounding of every addition, and the same bits on all ranks.
void expect_sum(const Values& got, DType dtype, int64_t rows, int64_t columns, uint32_t seed,
                ControlGroup& control) {
  std::vector<Values> inputs;
  for (int rank = 0; rank < control.size(); ++rank) inputs.emplace_back(dtype, rows, columns, rank, seed);
  Values expected(dtype, rows, columns, 0, seed);
  const float rounding = dtype == DType::f32 ? 0x1p-23F : 0x1p-8F;
  for (int64_t i = 0; i < got.elements(); ++i) {
    float sum = inputs[0].get(i);
    float absolute = std::abs(sum);
    for (size_t rank = 1; rank < inputs.size(); ++rank) {
      sum += inputs[rank].get(i);
      absolute += std::abs(inputs[rank].get(i));
    }
    expected.set(i, sum);
    ASSERT_NEAR(got.get(i), sum, rounding * absolute * static_cast<float>(inputs.size())) << "element " << i;
  }
  if (sums_in_rank_order()) {
    EXPECT_EQ(got.memory(), expected.memory());
  }
  for (const auto& theirs : control.gather(got.memory())) EXPECT_EQ(theirs, got.memory());
}

void on_groups(const Body& body) {
  for (const int size : group_sizes()) {
    on_all_ranks(size, [&](ControlGroup& control, TensorGroup& group, const Stream& stream) {
      EXPECT_EQ(group.size(), size);
      body(control, group, stream);
    });
  }
}

TEST(TensorGroup, AllReducesToTheSameBitsOnAllRanks) {
  on_groups([](ControlGroup& control, TensorGroup& group, const Stream& stream) {
    uint32_t seed = 0;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      // Smaller than the group, odd, and large enough for every way an implementation has.
      for (const int64_t columns : {1, 2, 3, 31, 33, 1000, 4099, 40'001, 300'007}) {
        SCOPED_TRACE(testing::Message() << kernels::name_of(dtype) << " " << columns);
        Values values(dtype, 1, columns, group.rank(), ++seed);
        group.all_reduce(stream, std::array{values.upload(stream)});
        values.download(stream);
        expect_sum(values, dtype, 1, columns, seed, control);
      }
    }
  });
}

TEST(TensorGroup, AllReducesAListInOneCall) {
  on_groups([](ControlGroup& control, TensorGroup& group, const Stream& stream) {
    for (uint32_t round = 0; round < 20; ++round) {
      const int64_t rows = 1 + round * 7 % 11;
      const DType dtype = round % 2 == 0 ? DType::bf16 : DType::f32;
      Values output(dtype, rows, 777, group.rank(), 1000 + round);
      Values scores(DType::f32, 3, 4000 * (round % 4) + 5, group.rank(), 2000 + round);
      group.all_reduce(stream, std::array{output.upload(stream), scores.upload(stream)});
      output.download(stream);
      scores.download(stream);
      expect_sum(output, dtype, rows, 777, 1000 + round, control);
      expect_sum(scores, DType::f32, 3, 4000 * (round % 4) + 5, 2000 + round, control);
    }
  });
}

TEST(TensorGroup, AllGathersColumns) {
  on_groups([](ControlGroup&, TensorGroup& group, const Stream& stream) {
    uint32_t seed = 50;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const auto& [rows, columns] :
           {std::pair<int64_t, int64_t>{1, 1}, {1, 1000}, {5, 3}, {7, 20'000}}) {
        ++seed;
        Values part(dtype, rows, columns, group.rank(), seed);
        Values whole(dtype, rows, columns * group.size(), 99, seed);
        group.all_gather(stream, part.upload(stream), whole.upload(stream));
        whole.download(stream);
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
