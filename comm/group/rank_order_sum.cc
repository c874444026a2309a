#include "comm/group/rank_order_sum.h"

#include <algorithm>
#include <array>

#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

// Small enough for the first-level cache beside a block of an input.
constexpr size_t kBlock = 2048;

inline float load(const float& value) { return value; }
inline float load(const kernels::bf16& value) { return kernels::to_float(value); }
inline void store(float value, float& out) { out = value; }
inline void store(float value, kernels::bf16& out) { out = kernels::to_bf16(value); }

template <typename T>
void sum(std::span<const void* const> inputs, void* out, size_t elements) {
  std::array<float, kBlock> total;
  for (size_t begin = 0; begin < elements; begin += kBlock) {
    const size_t count = std::min(kBlock, elements - begin);
    const T* first = static_cast<const T*>(inputs[0]) + begin;
    for (size_t i = 0; i < count; ++i) total[i] = load(first[i]);
    for (size_t rank = 1; rank < inputs.size(); ++rank) {
      const T* input = static_cast<const T*>(inputs[rank]) + begin;
      for (size_t i = 0; i < count; ++i) total[i] += load(input[i]);
    }
    T* target = static_cast<T*>(out) + begin;
    for (size_t i = 0; i < count; ++i) store(total[i], target[i]);
  }
}

}  // namespace

void sum_in_rank_order(kernels::DType dtype, std::span<const void* const> inputs, void* out,
                       size_t elements) {
  CHECK(!inputs.empty());
  switch (dtype) {
    case kernels::DType::f32:
      return sum<float>(inputs, out, elements);
    case kernels::DType::bf16:
      return sum<kernels::bf16>(inputs, out, elements);
    default:
      CHECK_EQ(kernels::name_of(dtype), "f32 or bf16");
  }
}

Slice slice_of(size_t elements, int rank, int size) {
  // Whole cache lines of fp32, so that no two ranks write to one.
  constexpr size_t kLine = 32;
  const size_t lines = (elements + kLine - 1) / kLine;
  const auto cut = [&](int r) {
    return std::min(elements, kLine * (lines * static_cast<size_t>(r) / static_cast<size_t>(size)));
  };
  return {cut(rank), cut(rank + 1)};
}

}  // namespace batchmax::comm
