#include "bench/kernels/cuda/floor.h"

#include <algorithm>
#include <cstdio>

#include "bench/kernels/cuda/copy.h"
#include "bench/kernels/cuda/random_memory.h"
#include "bench/kernels/cuda/replay.h"
#include "kernels/linear/linear.h"

namespace batchmax::bench {
namespace {

using kernels::Buffer;
using kernels::cuda::check;
using kernels::cuda::stream_of;

// The better of a kernel and the runtime's own copy, which a graph may hand to the slower copy engine: it
// runs outside of one.
double copy_rate(const kernels::Stream& stream) {
  constexpr size_t kBytes = size_t{1} << 30;
  const Buffer from = random_memory(stream, kernels::DType::bf16, kBytes / 2);
  const Buffer to(stream, kBytes);
  Replay kernel(stream, 1, [&](int) { copy(stream, from, to); });
  const double by_kernel = kernel.median_seconds(9);
  const double by_runtime = median_seconds(stream, 9, [&] {
    check(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, stream_of(stream)),
          "cudaMemcpyAsync");
  });
  return 2.0 * static_cast<double>(kBytes) / std::min(by_kernel, by_runtime);
}

double matmul_rate(const kernels::Stream& stream) {
  constexpr int64_t kSize = 8192;
  const auto type = kernels::DType::bf16;
  auto values = random_values(type, kSize * kSize);
  const kernels::Linear linear(stream, kernels::MatmulLibrary(stream),
                               kernels::Tensor(values.data(), type, {kSize, kSize}), kernels::Tensor(), type);
  linear.prepare(stream, kSize, type);
  const Buffer x = random_memory(stream, type, kSize * kSize);
  const Buffer out(stream, kSize * kSize * 2);
  Replay replay(stream, 1, [&](int) {
    linear.run(stream, kernels::Tensor(x.data(), type, {kSize, kSize}),
               kernels::Tensor(out.data(), type, {kSize, kSize}));
  });
  return 2.0 * kSize * kSize * kSize / replay.median_seconds(9);
}

}  // namespace

DeviceFloor measure_device_floor(const kernels::Stream& stream) {
  DeviceFloor floor;
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, stream.device()), "cudaGetDeviceProperties");
  floor.device = properties.name;
  floor.copy_bytes = copy_rate(stream);
  floor.matmul_flops = matmul_rate(stream);
  return floor;
}

void print(const DeviceFloor& floor) {
  std::printf("floor, %s: copy %.0f GB/s (read + written), cuBLASLt bf16 8192^3 %.0f TFLOP/s\n",
              floor.device.c_str(), floor.copy_bytes / 1e9, floor.matmul_flops / 1e12);
}

}  // namespace batchmax::bench
