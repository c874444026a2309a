// A block per token, or several where there are few tokens. A few lanes share a head: each lane holds N
// neighbouring pairs (i, i + D / 2), reads their cosines and sines once and goes through the token's heads
// with them. Moves 2 · (Hq + 2 Hkv) · D elements and one row of the rotation tables per token.
#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 128;
// Fewer blocks than this leave multiprocessors without work, and what counts is the latency of one block.
constexpr int64_t kFewTokens = 512;

template <typename T, typename Kv>
struct Args {
  const T* qkv;
  const int32_t* positions;
  const int32_t* tables;
  RopeTable rope;
  const T* q_norm;  // nullptr: none
  const T* k_norm;
  float eps;
  T* q;
  Kv* k;
  Kv* v;
  int q_heads;
  int kv_heads;
  int half;  // D / 2
};

// 1 / sqrt(mean(x²) + eps) of a head, in all Lanes lanes that share it.
template <int N, int Lanes, typename T>
__device__ float inverse_rms(const T* x, int half, float eps) {
  const int lane = static_cast<int>(threadIdx.x) % Lanes;
  float squares = 0;
  for (int i = lane * N; i < 2 * half; i += Lanes * N) {
    float value[N];
    load_floats<N>(x + i, value);
#pragma unroll
    for (int j = 0; j < N; ++j) squares += value[j] * value[j];
  }
  const unsigned first = threadIdx.x % 32 / Lanes * Lanes;
  const unsigned lanes = (Lanes == 32 ? 0xffffffffU : (1U << Lanes % 32) - 1U) << first;
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) squares += __shfl_xor_sync(lanes, squares, offset);
  return 1.0F / sqrtf(squares / static_cast<float>(2 * half) + eps);
}

template <int N>
struct Angles {
  float cos[N];
  float sin[N];
};

// out = R (x · scale · norm) for the pairs at i.
template <int N, int Lanes, typename T, typename Out>
__device__ void rotate(const T* x, const T* norm, float eps, int half, int i, const Angles<N>& angles,
                       Out* out) {
  const float scale = norm == nullptr ? 1.0F : inverse_rms<N, Lanes>(x, half, eps);
  if (i >= half) return;
  float low[N], high[N], turned_low[N], turned_high[N];
  load_floats<N>(x + i, low);
  load_floats<N>(x + half + i, high);
  if (norm != nullptr) {
    float low_factor[N], high_factor[N];
    load_floats<N>(norm + i, low_factor);
    load_floats<N>(norm + half + i, high_factor);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      low[j] *= scale * low_factor[j];
      high[j] *= scale * high_factor[j];
    }
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    turned_low[j] = low[j] * angles.cos[j] - high[j] * angles.sin[j];
    turned_high[j] = high[j] * angles.cos[j] + low[j] * angles.sin[j];
  }
  store_floats<N>(out + i, turned_low);
  store_floats<N>(out + half + i, turned_high);
}

template <int N, typename T, typename Out>
__device__ void convert(const T* x, int half, int i, Out* out) {
  if (i >= half) return;
  float low[N], high[N];
  load_floats<N>(x + i, low);
  load_floats<N>(x + half + i, high);
  store_floats<N>(out + i, low);
  store_floats<N>(out + half + i, high);
}

template <int N, int Lanes, typename T, typename Kv>
__global__ void __launch_bounds__(kThreads) rope_stage_kernel(Args<T, Kv> args) {
  const int64_t token = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % Lanes;
  const int64_t head_dim = 2 * args.half;
  const int heads = args.q_heads + 2 * args.kv_heads;
  const T* qkv = args.qkv + token * heads * head_dim;
  const int32_t position = args.positions[token];
  device_check(position >= 0 && position < args.rope.max_positions);
  const int64_t row =
      (static_cast<int64_t>(args.tables[token]) * args.rope.max_positions + position) * args.half;
  for (int begin = 0; begin < args.half;
       begin += Lanes * N) {  // once, but for heads longer than the lanes hold
    const int i = begin + lane * N;
    Angles<N> angles = {};
    if (i < args.half) {
      load_floats<N>(args.rope.cos + row + i, angles.cos);
      load_floats<N>(args.rope.sin + row + i, angles.sin);
    }
    const int at_once = kThreads / Lanes;
    for (int head = static_cast<int>(blockIdx.y * at_once + threadIdx.x / Lanes); head < heads;
         head += static_cast<int>(gridDim.y) * at_once) {
      const T* x = qkv + head * head_dim;
      const int kv_head = (head - args.q_heads) % args.kv_heads;
      const int64_t kv_at = (token * args.kv_heads + kv_head) * head_dim;
      if (head < args.q_heads) {
        rotate<N, Lanes>(x, args.q_norm, args.eps, args.half, i, angles,
                         args.q + (token * args.q_heads + head) * head_dim);
      } else if (head < args.q_heads + args.kv_heads) {
        rotate<N, Lanes>(x, args.k_norm, args.eps, args.half, i, angles, args.k + kv_at);
      } else {
        convert<N>(x, args.half, i, args.v + kv_at);
      }
    }
  }
}

template <typename T, typename Kv>
void launch(const Stream& stream, const RopeStage& stage) {
  const auto tokens = static_cast<unsigned>(stage.qkv.dim(0));
  if (tokens == 0) return;
  Args<T, Kv> args;
  args.qkv = stage.qkv.as<T>();
  args.positions = stage.positions.as<int32_t>();
  args.tables = stage.tables.as<int32_t>();
  args.rope = stage.rope;
  args.q_norm = stage.q_norm ? stage.q_norm.as<T>() : nullptr;
  args.k_norm = stage.k_norm ? stage.k_norm.as<T>() : nullptr;
  args.eps = stage.eps;
  args.q = stage.q.as<T>();
  args.k = stage.k.as<Kv>();
  args.v = stage.v.as<Kv>();
  args.q_heads = static_cast<int>(stage.q.dim(1));
  args.kv_heads = static_cast<int>(stage.k.dim(1));
  args.half = static_cast<int>(stage.q.dim(2) / 2);
  const cudaStream_t queue = stream_of(stream);
  constexpr int N = kVec<T>;
  constexpr int kLanes = 64 / N;  // a head of D = 128 is held by 8 lanes in bf16, by 16 in fp32
  const int heads = args.q_heads + 2 * args.kv_heads;
  const auto grid = [&](int lanes) {
    return dim3(tokens, tokens < kFewTokens ? static_cast<unsigned>(ceil_div(heads, kThreads / lanes)) : 1);
  };
  if (args.half % N == 0) {
    rope_stage_kernel<N, kLanes><<<grid(kLanes), kThreads, 0, queue>>>(args);
  } else {
    rope_stage_kernel<1, 32><<<grid(32), kThreads, 0, queue>>>(args);
  }
  check_launch("rope_stage");
}

}  // namespace

void rope_stage(const Stream& stream, const RopeStage& stage) {
  on_float_type(stage.qkv.dtype(), [&](auto in) {
    on_float_type(stage.k.dtype(), [&](auto kv) { launch<decltype(in), decltype(kv)>(stream, stage); });
  });
}

}  // namespace batchmax::kernels::cuda
