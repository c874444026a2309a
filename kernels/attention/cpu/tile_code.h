// Attention over one tile, for vectors of W floats. Included by the tiles_*.cc, each compiled for its
// instruction set, so everything here has internal linkage and calls nothing inline from elsewhere: a copy
// compiled for one set can never be linked in for another.
//
// Both products, S = Q·Kᵀ [M, 64] and O += P·V [M, D], are one matrix product A [M, steps] · B [steps, N]
// whose register block is kRows rows of A by `cols` vectors of B. K and V are copied into B's layout once per
// tile, which costs a few percent of the products they then serve. A step is one fp32 product, or with bf16
// pairs two.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/attention/cpu/tiles.h"

namespace batchmax::kernels::cpu {
namespace {

template <int W>
struct Vectors {
  typedef float F __attribute__((vector_size(W * 4)));
  typedef uint32_t U __attribute__((vector_size(W * 4)));
  typedef uint16_t H __attribute__((vector_size(W * 2)));
  // For memory of any type that is aligned to its elements only.
  typedef float FLoose __attribute__((vector_size(W * 4), aligned(4), may_alias));
  typedef uint32_t ULoose __attribute__((vector_size(W * 4), aligned(2), may_alias));
  typedef uint16_t HLoose __attribute__((vector_size(W * 2), aligned(2), may_alias));
};

template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F load(const float* from) {
  return *reinterpret_cast<const typename Vectors<W>::FLoose*>(from);
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F load(const bf16* from) {
  using V = Vectors<W>;
  return (typename V::F)(
      __builtin_convertvector(*reinterpret_cast<const typename V::HLoose*>(from), typename V::U) << 16);
}
template <int W>
[[gnu::always_inline]] inline void store(float* to, const typename Vectors<W>::F& value) {
  *reinterpret_cast<typename Vectors<W>::FLoose*>(to) = value;
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F splat(float value) {
  // As words: 0.0F + value is an addition that the compiler may not leave out.
  return (typename Vectors<W>::F)(typename Vectors<W>::U{} + __builtin_bit_cast(uint32_t, value));
}
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F larger(const typename Vectors<W>::F& a,
                                                            const typename Vectors<W>::F& b) {
  return a > b ? a : b;
}

// Lane indices of lane ^ distance, for folding a vector in halves.
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::U partner(uint32_t distance) {
  typename Vectors<W>::U lanes{};
  for (uint32_t i = 0; i < W; ++i) lanes[i] = i ^ distance;
  return lanes;
}
template <int W>
[[gnu::always_inline]] inline float largest(typename Vectors<W>::F value) {
#pragma GCC unroll 4
  for (uint32_t d = W / 2; d > 0; d /= 2) value = larger<W>(value, __builtin_shuffle(value, partner<W>(d)));
  return value[0];
}
template <int W>
[[gnu::always_inline]] inline float total(typename Vectors<W>::F value) {
#pragma GCC unroll 4
  for (uint32_t d = W / 2; d > 0; d /= 2) value += __builtin_shuffle(value, partner<W>(d));
  return value[0];
}

// 2^x for x <= 127, 0 below −126 (also for −inf). x = n + r with n the nearest integer, 2^r by its Taylor
// series to the 7th power: on |r| <= 1/2 the next term is (ln2 / 2)^8 / 8! = 5e-9, below fp32's rounding.
template <int W>
[[gnu::always_inline]] inline typename Vectors<W>::F power_of_two(const typename Vectors<W>::F& x) {
  using V = Vectors<W>;
  const typename V::F low = splat<W>(-126.0F);
  const typename V::F clamped = x < low ? low : x;
  const typename V::F magic = clamped + 12582912.0F;  // 1.5 · 2^23: the integer ends in the low bits
  const typename V::F r = clamped - (magic - 12582912.0F);
  typename V::F series = r * 1.52527338e-5F + 1.54035304e-4F;  // ln2^k / k!, k = 7 .. 0
  series = series * r + 1.33335581e-3F;
  series = series * r + 9.61812911e-3F;
  series = series * r + 5.55041087e-2F;
  series = series * r + 2.40226507e-1F;
  series = series * r + 6.93147181e-1F;
  series = series * r + 1.0F;
  const typename V::F power = (typename V::F)((typename V::U)series + ((typename V::U)magic << 23));
  return x < low ? typename V::F{} : power;
}

// block[i] lane j <-> block[j] lane i, by exchanging ever larger quarters.
template <int W, int Distance = 1>
[[gnu::always_inline]] inline void transpose(typename Vectors<W>::U (&block)[W]) {
  using U = typename Vectors<W>::U;
  U low{}, high{};
  for (uint32_t i = 0; i < W; ++i) {
    low[i] = (i & Distance) ? W + i - Distance : i;
    high[i] = (i & Distance) ? W + i : i + Distance;
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) {
    if ((i & Distance) == 0) {
      const U a = block[i];
      const U b = block[i + Distance];
      block[i] = __builtin_shuffle(a, b, low);
      block[i + Distance] = __builtin_shuffle(a, b, high);
    }
  }
  if constexpr (Distance * 2 < W) transpose<W, Distance * 2>(block);
}

// A step is one fp32 multiply-add; keys of type T become fp32.
template <int Lanes, typename T>
struct SingleSteps {
  static constexpr int W = Lanes;
  static constexpr int kPerStep = 1;
  static constexpr int kElement = sizeof(T);
  using V = Vectors<W>;
  using F = typename V::F;
  using U = typename V::U;

  [[gnu::always_inline]] static void multiply_add(F& sum, const float* a, const F& b) {
    sum += splat<W>(*a) * b;
  }
  // W consecutive steps of one key.
  [[gnu::always_inline]] static U steps_of(const void* key, int64_t step) {
    return (U)load<W>(static_cast<const T*>(key) + step);
  }
  // B's rows for P·V: one per key.
  static void pack_values(const KeyTile& tile, int head_dim, float* panel) {
    for (int64_t key = 0; key < tile.count; ++key) {
      const T* v = static_cast<const T*>(tile.v) + key * tile.stride;
      for (int d = 0; d < head_dim; d += W) store<W>(panel + key * head_dim + d, load<W>(v + d));
    }
  }
  // 64 probabilities in place of the scores they come from.
  [[gnu::always_inline]] static void store_probabilities(const F (&p)[kTileKeys / W], float* row) {
#pragma GCC unroll 16
    for (int n = 0; n < kTileKeys / W; ++n) store<W>(row + n * W, p[n]);
  }
};

// C [rows, cols · W] = C · diag(growth) + A · B, or A · B where growth is null.
template <typename S, int Rows, int Cols>
[[gnu::always_inline]] inline void register_block(const float* a, int64_t a_stride, const float* b,
                                                  int64_t b_stride, int steps, float* c, int64_t c_stride,
                                                  const float* growth) {
  using F = typename S::F;
  constexpr int W = S::W;
  F sums[Rows][Cols];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < Cols; ++n) {
      sums[i][n] = growth == nullptr ? F{} : load<W>(c + i * c_stride + n * W) * splat<W>(growth[i]);
    }
  }
  for (int k = 0; k < steps; ++k) {
    F column[Cols];
#pragma GCC unroll 8
    for (int n = 0; n < Cols; ++n) column[n] = load<W>(b + k * b_stride + n * W);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
      for (int n = 0; n < Cols; ++n) S::multiply_add(sums[i][n], a + i * a_stride + k, column[n]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < Cols; ++n) store<W>(c + i * c_stride + n * W, sums[i][n]);
  }
}

template <typename S, int Cols>
void product_columns(const float* a, int64_t a_stride, int rows, const float* b, int64_t b_stride, int steps,
                     float* c, int64_t c_stride, const float* growth) {
  const auto part = [&]<int Rows>(int i) {
    register_block<S, Rows, Cols>(a + i * a_stride, a_stride, b, b_stride, steps, c + i * c_stride, c_stride,
                                  growth == nullptr ? nullptr : growth + i);
  };
  int i = 0;
  for (; i + 6 <= rows; i += 6) part.template operator()<6>(i);
  if (i + 4 <= rows) part.template operator()<4>(i), i += 4;
  if (i + 2 <= rows) part.template operator()<2>(i), i += 2;
  if (i < rows) part.template operator()<1>(i);
}

// 32 vector registers hold 6 × 4 sums, 4 of B and one of A; 16 hold 6 × 2.
template <typename S>
void product(const float* a, int64_t a_stride, int rows, const float* b, int columns, int steps, float* c,
             const float* growth) {
  constexpr int kWide = S::W == 16 ? 4 : 2;
  int n = 0;
  for (; n + kWide * S::W <= columns && (columns - n) % (kWide * S::W) == 0; n += kWide * S::W) {
    product_columns<S, kWide>(a, a_stride, rows, b + n, columns, steps, c + n, columns, growth);
  }
  if constexpr (S::W == 16) {
    for (; n < columns; n += 3 * S::W) {  // head_dim 96
      product_columns<S, 3>(a, a_stride, rows, b + n, columns, steps, c + n, columns, growth);
    }
  }
}

// B's rows for Q·Kᵀ: one per step, 64 keys each; keys past the count are 0.
template <typename S>
void pack_keys(const KeyTile& tile, int head_dim, float* panel) {
  constexpr int W = S::W;
  using U = typename S::U;
  for (int key = 0; key < kTileKeys; key += W) {
    for (int step = 0; step < head_dim / S::kPerStep; step += W) {
      U block[W];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        const auto* row = static_cast<const std::byte*>(tile.k) + (key + i) * tile.stride * S::kElement;
        block[i] = key + i < tile.count ? S::steps_of(row, step) : U{};
      }
      transpose<W>(block);
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        store<W>(panel + static_cast<int64_t>(step + i) * kTileKeys + key, (typename S::F)block[i]);
      }
    }
  }
}

// Scores of all queries with the tile's keys into block.scores, not scaled.
template <typename S>
void score(const KeyTile& tile, QueryBlock& block) {
  const int steps = block.head_dim / S::kPerStep;
  pack_keys<S>(tile, block.head_dim, block.k_panel);
  product<S>(block.queries, steps, block.count, block.k_panel, kTileKeys, steps, block.scores, nullptr);
}

constexpr float kNothing = -1e30F;  // finite: −inf − −inf would be NaN

// Row i of the scores, scaled; −inf where the query does not see the key.
template <typename S>
[[gnu::always_inline]] inline void scaled_row(QueryBlock& block, int count, int i,
                                              typename S::F (&x)[kTileKeys / S::W]) {
  constexpr int W = S::W;
  float* row = block.scores + static_cast<int64_t>(i) * kTileKeys;
  const int seen = block.visible[i] < count ? block.visible[i] : count;
  for (int j = seen < 0 ? 0 : seen; j < kTileKeys; ++j) row[j] = -__builtin_inff();
#pragma GCC unroll 16
  for (int n = 0; n < kTileKeys / W; ++n) x[n] = load<W>(row + n * W) * splat<W>(block.scale);
}

template <typename S>
void begin(QueryBlock& block) {
  for (int i = 0; i < block.count; ++i) block.top[i] = kNothing;
  std::memset(block.sums, 0, sizeof(float) * 16 * static_cast<size_t>(block.count));
  std::memset(block.out, 0,
              sizeof(float) * static_cast<size_t>(block.count) * static_cast<size_t>(block.head_dim));
}

template <typename S>
void attend(const KeyTile& tile, QueryBlock& block, float* kept, int64_t kept_stride) {
  constexpr int W = S::W;
  constexpr int kVectors = kTileKeys / W;
  using F = typename S::F;
  score<S>(tile, block);
  for (int i = 0; i < block.count; ++i) {
    float* row = block.scores + static_cast<int64_t>(i) * kTileKeys;
    F x[kVectors];
    scaled_row<S>(block, tile.count, i, x);
    if (kept != nullptr) {
      float copy[kTileKeys];
      for (int n = 0; n < kVectors; ++n) store<W>(copy + n * W, x[n]);
      std::memcpy(kept + i * kept_stride, copy, sizeof(float) * static_cast<size_t>(tile.count));
    }
    F high = x[0];
#pragma GCC unroll 16
    for (int n = 1; n < kVectors; ++n) high = larger<W>(high, x[n]);
    const float before = block.top[i];
    const float tile_top = largest<W>(high);
    const float top = tile_top > before ? tile_top : before;
    block.top[i] = top;
    block.growth[i] = before - top;
    F sum{};
#pragma GCC unroll 16
    for (int n = 0; n < kVectors; ++n) {
      x[n] = power_of_two<W>(x[n] - splat<W>(top));
      sum += x[n];
    }
    float* lanes = block.sums + static_cast<int64_t>(i) * 16;
    const F growth = power_of_two<W>(splat<W>(block.growth[i]));
    block.growth[i] = growth[0];
    store<W>(lanes, load<W>(lanes) * growth + sum);
    S::store_probabilities(x, row);
  }
  S::pack_values(tile, block.head_dim, block.v_panel);
  const int steps = (tile.count + S::kPerStep - 1) / S::kPerStep;
  product<S>(block.scores, kTileKeys, block.count, block.v_panel, block.head_dim, steps, block.out,
             block.growth);
}

template <typename S>
void finish(QueryBlock& block) {
  for (int i = 0; i < block.count; ++i) {
    float* lanes = block.sums + static_cast<int64_t>(i) * 16;
    lanes[0] = total<S::W>(load<S::W>(lanes));
  }
}

template <typename S>
void mass(const KeyTile& tile, QueryBlock& block, const float* lse2, float* received) {
  constexpr int W = S::W;
  constexpr int kVectors = kTileKeys / W;
  using F = typename S::F;
  score<S>(tile, block);
  F sums[kVectors] = {};
  for (int i = 0; i < block.count; ++i) {
    F x[kVectors];
    scaled_row<S>(block, tile.count, i, x);
#pragma GCC unroll 16
    for (int n = 0; n < kVectors; ++n) sums[n] += power_of_two<W>(x[n] - splat<W>(lse2[i]));
  }
  float column[kTileKeys];
  for (int n = 0; n < kVectors; ++n) store<W>(column + n * W, sums[n]);
  for (int j = 0; j < tile.count; ++j) received[j] += column[j];
}

template <typename S>
void add_probabilities(const float* kept, int32_t count, float lse2, float* received) {
  constexpr int W = S::W;
  int32_t j = 0;
  for (; j + W <= count; j += W) {
    store<W>(received + j, load<W>(received + j) + power_of_two<W>(load<W>(kept + j) - splat<W>(lse2)));
  }
  if (j == count) return;
  const size_t rest = sizeof(float) * static_cast<size_t>(count - j);
  float x[W] = {};
  float sum[W] = {};
  std::memcpy(x, kept + j, rest);
  std::memcpy(sum, received + j, rest);
  store<W>(sum, load<W>(sum) + power_of_two<W>(load<W>(x) - splat<W>(lse2)));
  std::memcpy(received + j, sum, rest);
}

template <typename S>
void exp2_all(const float* x, int32_t count, float* out) {
  for (int32_t i = 0; i < count; ++i) out[i] = power_of_two<S::W>(splat<S::W>(x[i]))[0];
}

template <typename S>
Tiles tiles() {
  return {S::kPerStep == 2, begin<S>, attend<S>, finish<S>, mass<S>, add_probabilities<S>, exp2_all<S>};
}

// The fp32 loops for a machine with vectors of W floats.
template <int W>
[[maybe_unused]] Tiles single_tiles(DType kv) {
  return kv == DType::bf16 ? tiles<SingleSteps<W, bf16>>() : tiles<SingleSteps<W, float>>();
}

}  // namespace
}  // namespace batchmax::kernels::cpu
