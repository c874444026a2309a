#include "bench/kernels/cuda/random_memory.h"

#include <algorithm>
#include <random>
#include <vector>

namespace batchmax::bench {

using namespace batchmax::kernels;

Buffer random_memory(const Stream& stream, DType dtype, size_t elements, float scale) {
  constexpr size_t kPeriod = 1048573;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<std::byte> pattern(kPeriod * size_of(dtype));
  for (size_t i = 0; i < kPeriod; ++i) {
    const float value = normal(random);
    if (dtype == DType::bf16) {
      reinterpret_cast<bf16*>(pattern.data())[i] = to_bf16(value);
    } else {
      reinterpret_cast<float*>(pattern.data())[i] = value;
    }
  }
  const size_t bytes = elements * size_of(dtype);
  Buffer memory(stream, bytes);
  for (size_t at = 0; at < bytes; at += pattern.size()) {
    upload(stream, static_cast<std::byte*>(memory.data()) + at, pattern.data(),
           std::min(pattern.size(), bytes - at));
  }
  stream.synchronize();
  return memory;
}

}  // namespace batchmax::bench
