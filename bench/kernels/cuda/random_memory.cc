#include "bench/kernels/cuda/random_memory.h"

#include <algorithm>
#include <random>

namespace batchmax::bench {

using namespace batchmax::kernels;

std::vector<std::byte> random_values(DType dtype, size_t elements, float scale) {
  constexpr size_t kPeriod = 1048573;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0F, scale);
  const size_t first = std::min(kPeriod, elements);
  std::vector<std::byte> values(elements * size_of(dtype));
  for (size_t i = 0; i < first; ++i) {
    const float value = normal(random);
    if (dtype == DType::bf16) {
      reinterpret_cast<bf16*>(values.data())[i] = to_bf16(value);
    } else {
      reinterpret_cast<float*>(values.data())[i] = value;
    }
  }
  const size_t period = first * size_of(dtype);
  for (size_t at = period; at < values.size(); at += period) {
    std::copy_n(values.begin(), std::min(period, values.size() - at),
                values.begin() + static_cast<ptrdiff_t>(at));
  }
  return values;
}

Buffer random_memory(const Stream& stream, DType dtype, size_t elements, float scale) {
  const std::vector<std::byte> values = random_values(dtype, elements, scale);
  Buffer memory(stream, values.size());
  upload(stream, memory.data(), values.data(), values.size());
  stream.synchronize();
  return memory;
}

}  // namespace batchmax::bench
