// y = x / sqrt(mean(x²) + eps) · weight, a block per row. Rows of whole 16-byte vectors stay in registers
// between the sum and the scaling: 2 · d elements moved, 4 · d with the residual add. Other lengths read the
// row twice, the second time from cache, element by element.
#include <algorithm>

#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels::cuda {
namespace {

// Vectors of a row that one thread holds. Two loads in flight per tensor hide the memory's latency, and
// blocks stay small enough for several on one multiprocessor: 320 threads for d = 5120 in bf16.
constexpr int kHeld = 2;
constexpr int kMostThreads = 1024;
constexpr int kWarp = 32;

// Sum over the block, the same bits in every thread.
__device__ float block_sum(float value) {
  __shared__ float partial[kMostThreads / kWarp];
  const int warps = (static_cast<int>(blockDim.x) + kWarp - 1) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  value = warp_sum(value);
  if (lane == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_sum(lane < warps ? partial[lane] : 0.0F);
}

struct NormArgs {
  void* x;            // [T, d]; with Add: the residual, in and out
  const void* delta;  // [T, d]
  const void* weight;
  void* out;
  int64_t d;
  float eps;
};

__device__ inline float inverse_rms(float squares, const NormArgs& args) {
  return 1.0F / sqrtf(squares / static_cast<float>(args.d) + args.eps);
}

// The row's elements at `at`, with the residual added, rounded as it is kept, and stored.
template <typename T, int N, bool Add>
__device__ void read_row(const NormArgs& args, int64_t at, float (&value)[N]) {
  T* x = static_cast<T*>(args.x) + at;
  load_floats<N>(x, value);
  if constexpr (Add) {
    float added[N];
    load_floats<N>(static_cast<const T*>(args.delta) + at, added);
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = to_float(from_float<T>(value[i] + added[i]));
    store_floats<N>(x, value);
  }
}

template <typename T, int N>
__device__ void write_row(const NormArgs& args, int64_t row, int64_t i, float scale,
                          const float (&value)[N]) {
  float factor[N], result[N];
  load_floats<N>(static_cast<const T*>(args.weight) + i, factor);
#pragma unroll
  for (int j = 0; j < N; ++j) result[j] = value[j] * scale * factor[j];
  store_floats<N>(static_cast<T*>(args.out) + row + i, result);
}

template <typename T, bool Add>
__global__ void norm_vectors(NormArgs args) {
  constexpr int N = kVec<T>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * args.d;
  float held[kHeld][N];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = static_cast<int64_t>(threadIdx.x + j * blockDim.x) * N;
    if (i >= args.d) break;
    read_row<T, N, Add>(args, row + i, held[j]);
#pragma unroll
    for (int e = 0; e < N; ++e) squares += held[j][e] * held[j][e];
  }
  const float scale = inverse_rms(block_sum(squares), args);
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = static_cast<int64_t>(threadIdx.x + j * blockDim.x) * N;
    if (i >= args.d) break;
    write_row<T, N>(args, row, i, scale, held[j]);
  }
}

template <typename T, bool Add>
__global__ void norm_elements(NormArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * args.d;
  float squares = 0;
  float value[1];
  for (int64_t i = threadIdx.x; i < args.d; i += blockDim.x) {
    read_row<T, 1, Add>(args, row + i, value);
    squares += value[0] * value[0];
  }
  const float scale = inverse_rms(block_sum(squares), args);
  for (int64_t i = threadIdx.x; i < args.d; i += blockDim.x) {
    load_floats<1>(static_cast<const T*>(args.x) + row + i, value);
    write_row<T, 1>(args, row, i, scale, value);
  }
}

template <bool Add>
void launch(const Stream& stream, const Tensor& x, const NormArgs& args) {
  const auto rows = static_cast<unsigned>(x.dim(0));
  if (rows == 0) return;
  on_float_type(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t vectors = args.d / kVec<T>;
    const cudaStream_t queue = stream_of(stream);
    if (args.d % kVec<T> == 0 && vectors <= kHeld * kMostThreads) {
      const int64_t threads = ceil_div(ceil_div(vectors, kHeld), kWarp) * kWarp;
      norm_vectors<T, Add><<<rows, static_cast<unsigned>(threads), 0, queue>>>(args);
    } else {
      const int64_t threads = std::min<int64_t>(kMostThreads, ceil_div(args.d, kWarp) * kWarp);
      norm_elements<T, Add><<<rows, static_cast<unsigned>(threads), 0, queue>>>(args);
    }
  });
  check_launch("rms_norm");
}

}  // namespace

void rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  launch<false>(stream, x, {x.data(), nullptr, weight.data(), out.data(), x.dim(1), eps});
}

void add_rms_norm(const Stream& stream, const Tensor& residual, const Tensor& delta, const Tensor& weight,
                  float eps, const Tensor& out) {
  launch<true>(stream, residual,
               {residual.data(), delta.data(), weight.data(), out.data(), residual.dim(1), eps});
}

}  // namespace batchmax::kernels::cuda
