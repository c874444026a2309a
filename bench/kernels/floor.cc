#include "bench/kernels/floor.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/cpu/team.h"
#include "kernels/linear/linear.h"

namespace batchmax::bench {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::Tensor;

constexpr size_t kBytes = size_t{256} << 20;  // eight times a large last-level cache slice
constexpr size_t kPiece = size_t{1} << 20;
constexpr int kRounds = 8;

template <typename Work>
double best_seconds(Work work) {
  double best = 1e30;
  for (int round = 0; round <= kRounds; ++round) {  // the first warms up
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    if (round > 0) best = std::min(best, spent.count());
  }
  return best;
}

// Sums of 64-bit words: eight independent chains keep the loads, not the additions, the limit.
uint64_t sum_words(const uint64_t* words, size_t n) {
  uint64_t sums[32] = {};
  for (size_t i = 0; i < n; i += 32) {
    for (size_t j = 0; j < 32; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

double read_rate(const Buffer& buffer) {
  uint64_t sink = 0;
  const double seconds = best_seconds([&] {
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (size_t piece = 0; piece < kBytes / kPiece; ++piece) {
      sum += sum_words(static_cast<const uint64_t*>(buffer.data()) + piece * kPiece / 8, kPiece / 8);
    }
    sink += sum;
  });
  if (sink == 1) std::puts("");  // keeps the sums
  return static_cast<double>(kBytes) / seconds;
}

double copy_rate(const Buffer& from, const Buffer& to) {
  const double seconds = best_seconds([&] {
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < kBytes / kPiece; ++piece) {
      std::memcpy(static_cast<std::byte*>(to.data()) + piece * kPiece,
                  static_cast<const std::byte*>(from.data()) + piece * kPiece, kPiece);
    }
  });
  return 2.0 * static_cast<double>(kBytes) / seconds;
}

double matmul_rate(const kernels::Stream& stream, DType dtype) {
  constexpr int64_t kM = 512;
  constexpr int64_t kN = 2048;
  constexpr int64_t kK = 2048;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weight(static_cast<size_t>(kN * kK));
  for (float& value : weight) value = normal(random);
  const kernels::Linear linear(stream, kernels::MatmulLibrary(stream),
                               Tensor(weight.data(), DType::f32, {kN, kK}), Tensor(), dtype);
  const size_t x_elements = static_cast<size_t>(kM * kK);
  const Buffer x(stream, x_elements * size_of(dtype));
  const Buffer out(stream, static_cast<size_t>(kM * kN) * sizeof(float));
  for (size_t i = 0; i < x_elements; ++i) {
    if (dtype == DType::bf16) {
      static_cast<kernels::bf16*>(x.data())[i] = kernels::to_bf16(normal(random));
    } else {
      static_cast<float*>(x.data())[i] = normal(random);
    }
  }
  const double seconds = best_seconds([&] {
    linear.run(stream, Tensor(x.data(), dtype, {kM, kK}), Tensor(out.data(), DType::f32, {kM, kN}));
  });
  return 2.0 * kM * kN * kK / seconds;
}

}  // namespace

Floor measure_floor(const kernels::Stream& stream) {
  const Buffer a(stream, kBytes);
  const Buffer b(stream, kBytes);
  for (size_t i = 0; i < kBytes / 8; ++i) static_cast<uint64_t*>(a.data())[i] = i * 0x9e3779b97f4a7c15ULL;
  std::memset(b.data(), 1, kBytes);
  Floor floor;
  floor.threads = kernels::cpu::most_threads();
  floor.read_bytes = read_rate(a);
  floor.copy_bytes = copy_rate(a, b);
  floor.bf16_flops = matmul_rate(stream, DType::bf16);
  floor.f32_flops = matmul_rate(stream, DType::f32);
  return floor;
}

void print(const Floor& floor) {
  std::printf(
      "floor, %d threads: read %.1f GB/s, copy %.1f GB/s (read + written), oneDNN matmul bf16 %.0f GFLOP/s, "
      "fp32 %.0f GFLOP/s\n",
      floor.threads, floor.read_bytes / 1e9, floor.copy_bytes / 1e9, floor.bf16_flops / 1e9,
      floor.f32_flops / 1e9);
}

}  // namespace batchmax::bench
