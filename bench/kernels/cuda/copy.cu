#include "bench/kernels/cuda/copy.h"
#include "kernels/core/cuda/check.h"
#include "monitoring/check.h"

namespace batchmax::bench {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;  // 16-byte loads in flight per thread: 128 KiB on a full multiprocessor

__global__ void __launch_bounds__(kThreads) copy_kernel(const uint4* from, uint4* to) {
  const size_t first = static_cast<size_t>(blockIdx.x) * (kThreads * kEach) + threadIdx.x;
  uint4 held[kEach];
#pragma unroll
  for (int j = 0; j < kEach; ++j) held[j] = from[first + j * kThreads];
#pragma unroll
  for (int j = 0; j < kEach; ++j) to[first + j * kThreads] = held[j];
}

}  // namespace

void copy(const kernels::Stream& stream, const kernels::Buffer& from, const kernels::Buffer& to) {
  constexpr size_t kBlockBytes = kThreads * kEach * sizeof(uint4);
  CHECK_EQ(from.bytes(), to.bytes());
  CHECK_EQ(from.bytes() % kBlockBytes, 0U);
  copy_kernel<<<static_cast<unsigned>(from.bytes() / kBlockBytes), kThreads, 0,
                kernels::cuda::stream_of(stream)>>>(static_cast<const uint4*>(from.data()),
                                                    static_cast<uint4*>(to.data()));
  kernels::cuda::check_launch("copy");
}

}  // namespace batchmax::bench
