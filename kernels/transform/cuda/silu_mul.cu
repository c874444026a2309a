// out = gate / (1 + e^−gate) · up: 3 · F elements moved per token. The output is one flat range of 16-byte
// vectors, two to a thread; widths that are no whole number of vectors go element by element.
#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 2;  // four loads in flight per thread

// In bf16 the fast exponential and division, whose errors are far below a rounding to 8 bits: with the exact
// ones, arithmetic would take as long as memory.
template <typename T>
__device__ inline float silu_times(float gate, float up) {
  if constexpr (std::is_same_v<T, float>) return gate / (1.0F + expf(-gate)) * up;
  return __fdividef(gate, 1.0F + __expf(-gate)) * up;
}

// groups: N-element pieces of out; row_groups of them in a row.
template <typename T, int N>
__global__ void silu_mul_kernel(const T* gate_up, T* out, uint32_t groups, uint32_t row_groups) {
  const uint32_t first = blockIdx.x * (kThreads * kEach) + threadIdx.x;
  float gate[kEach][N], up[kEach][N];
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const uint32_t group = first + j * kThreads;
    if (group >= groups) break;
    const uint32_t token = group / row_groups;
    const T* from = gate_up + (static_cast<uint64_t>(token) * row_groups + group) * N;  // 2 · token · F + i
    load_floats<N>(from, gate[j]);
    load_floats<N>(from + static_cast<uint64_t>(row_groups) * N, up[j]);
  }
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const uint32_t group = first + j * kThreads;
    if (group >= groups) break;
    float result[N];
#pragma unroll
    for (int i = 0; i < N; ++i) result[i] = silu_times<T>(gate[j][i], up[j][i]);
    store_floats<N>(out + static_cast<uint64_t>(group) * N, result);
  }
}

template <typename T, int N>
void launch(const Stream& stream, const Tensor& gate_up, const Tensor& out) {
  const int64_t groups = out.elements() / N;
  CHECK_LT(groups, int64_t{1} << 32);
  if (groups == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_div(groups, kThreads * kEach));
  silu_mul_kernel<T, N><<<blocks, kThreads, 0, stream_of(stream)>>>(
      gate_up.as<T>(), out.as<T>(), static_cast<uint32_t>(groups), static_cast<uint32_t>(out.dim(1) / N));
  check_launch("silu_mul");
}

}  // namespace

void silu_mul(const Stream& stream, const Tensor& gate_up, const Tensor& out) {
  on_float_type(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    out.dim(1) % kVec<T> == 0 ? launch<T, kVec<T>>(stream, gate_up, out) : launch<T, 1>(stream, gate_up, out);
  });
}

}  // namespace batchmax::kernels::cuda
