#include "bench/kernels/cuda/floor.h"

#include <cstdio>

#include "bench/kernels/cuda/random_memory.h"
#include "bench/kernels/cuda/replay.h"

namespace batchmax::bench {
namespace {

using kernels::Buffer;
using kernels::cuda::check;
using kernels::cuda::stream_of;

double copy_rate(const kernels::Stream& stream) {
  constexpr size_t kBytes = size_t{1} << 30;
  const Buffer from = random_memory(stream, kernels::DType::bf16, kBytes / 2);
  const Buffer to(stream, kBytes);
  Replay replay(stream, 1, [&](int) {
    check(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, stream_of(stream)),
          "cudaMemcpyAsync");
  });
  return 2.0 * static_cast<double>(kBytes) / replay.median_seconds(9);
}

}  // namespace

DeviceFloor measure_device_floor(const kernels::Stream& stream) {
  DeviceFloor floor;
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, stream.device()), "cudaGetDeviceProperties");
  floor.device = properties.name;
  floor.copy_bytes = copy_rate(stream);
  return floor;
}

void print(const DeviceFloor& floor) {
  std::printf("floor, %s: copy %.0f GB/s (read + written)\n", floor.device.c_str(), floor.copy_bytes / 1e9);
}

}  // namespace batchmax::bench
