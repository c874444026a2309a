// A thread per token: its q and k heads are normalised where asked, rotated by the token's position and
// written, its v heads converted. Moves 2 · (Hq + 2 Hkv) · D elements and one row of the rotation tables per
// token.
#include <array>

#include "kernels/core/cpu/isa.h"
#include "kernels/transform/backends.h"
#include "kernels/transform/cpu/norm_row.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int64_t kWorthATeam = 32 * 1024;  // elements; waking the team costs some microseconds
constexpr int64_t kMostHeadDim = 1024;      // fp32 copy of a normalised head on the stack

// out = R x for pairs (i, i + half).
template <typename In, typename Out>
[[gnu::always_inline]] inline void rotate(const In* x, const float* cos, const float* sin, int64_t half,
                                          Out* out) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    Floats low, high, cosine, sine;
    load(x + i, low);
    load(x + half + i, high);
    load(cos + i, cosine);
    load(sin + i, sine);
    store(low * cosine - high * sine, out + i);
    store(high * cosine + low * sine, out + half + i);
  }
  for (; i < half; ++i) {
    const float low = to_float(x[i]);
    const float high = to_float(x[half + i]);
    store_one(low * cos[i] - high * sin[i], out + i);
    store_one(high * cos[i] + low * sin[i], out + half + i);
  }
}

struct Token {
  const float* cos;
  const float* sin;
  int64_t head_dim;
  float eps;
};

template <typename T, typename Out>
[[gnu::always_inline]] inline void stage_heads(const Token& token, const T* x, int64_t heads, const T* norm,
                                               Out* out) {
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t at = head * token.head_dim;
    if (norm == nullptr) {
      rotate(x + at, token.cos, token.sin, token.head_dim / 2, out + at);
    } else {
      std::array<float, kMostHeadDim> normed;
      norm_row(x + at, norm, token.eps, normed.data(), token.head_dim);
      rotate(normed.data(), token.cos, token.sin, token.head_dim / 2, out + at);
    }
  }
}

template <typename T, typename Kv>
struct StageToken {
  [[gnu::always_inline]] static void run(const Token& token, const T* qkv, int64_t q_heads, int64_t kv_heads,
                                         const T* q_norm, const T* k_norm, T* q, Kv* k, Kv* v) {
    const T* k_in = qkv + q_heads * token.head_dim;
    const T* v_in = k_in + kv_heads * token.head_dim;
    stage_heads(token, qkv, q_heads, q_norm, q);
    stage_heads(token, k_in, kv_heads, k_norm, k);
    const int64_t n = kv_heads * token.head_dim;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Floats value;
      load(v_in + i, value);
      store(value, v + i);
    }
    for (; i < n; ++i) store_one(to_float(v_in[i]), v + i);
  }
};

template <typename T, typename Kv>
void stage_all(const RopeStage& args) {
  const int64_t q_heads = args.q.dim(1);
  const int64_t kv_heads = args.k.dim(1);
  const int64_t head_dim = args.q.dim(2);
  CHECK_LE(head_dim, kMostHeadDim);
  const int64_t width = args.qkv.dim(1);
  const T* q_norm = args.q_norm ? args.q_norm.as<T>() : nullptr;
  const T* k_norm = args.k_norm ? args.k_norm.as<T>() : nullptr;
  const Isa isa = best_isa();
#pragma omp parallel for schedule(static) if (args.qkv.elements() >= kWorthATeam)
  for (int64_t t = 0; t < args.qkv.dim(0); ++t) {
    const int32_t position = args.positions.as<int32_t>()[t];
    CHECK_GE(position, 0);
    CHECK_LT(position, args.rope.max_positions);
    const int64_t row =
        (static_cast<int64_t>(args.tables.as<int32_t>()[t]) * args.rope.max_positions + position) *
        (head_dim / 2);
    const Token token{args.rope.cos + row, args.rope.sin + row, head_dim, args.eps};
    run_on<StageToken<T, Kv>>(isa, token, args.qkv.as<T>() + t * width, q_heads, kv_heads, q_norm, k_norm,
                              args.q.as<T>() + t * q_heads * head_dim,
                              args.k.as<Kv>() + t * kv_heads * head_dim,
                              args.v.as<Kv>() + t * kv_heads * head_dim);
  }
}

}  // namespace

void rope_stage(const Stream&, const RopeStage& args) {
  const bool half = args.k.dtype() == DType::bf16;
  if (args.qkv.dtype() == DType::bf16) {
    half ? stage_all<bf16, bf16>(args) : stage_all<bf16, float>(args);
  } else {
    half ? stage_all<float, bf16>(args) : stage_all<float, float>(args);
  }
}

}  // namespace batchmax::kernels::cpu
