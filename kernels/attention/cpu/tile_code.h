// Attention over one tile, for vectors of W floats. Included by the tiles_*.cc, each compiled for its
// instruction set, so everything here has internal linkage and calls nothing inline from elsewhere: a copy
// compiled for one set can never be linked in for another.
//
// Both products, S = Q·Kᵀ [M, 64] and O += P·V [M, D], are one matrix product A [M, steps] · B [steps, N]
// whose register block is up to 6 rows of A by some vectors of B. A step is one fp32 product, or with bf16
// pairs two. K and V are copied into B's layout once per tile (panels), which costs a few percent of the
// products they then serve. With few queries (decode) it would cost more than it saves: keys are multiplied
// where they lie, four of them at a time, and values are brought into B's layout in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/attention/cpu/tiles.h"
#include "kernels/attention/cpu/vectors.h"

namespace batchmax::kernels::cpu {
namespace {

// A step is one fp32 multiply-add; keys and values of type T become fp32.
template <int Lanes, typename T>
struct SingleSteps {
  static constexpr int W = Lanes;
  static constexpr int kPerStep = 1;
  static constexpr int kElement = sizeof(T);
  static constexpr int kPanelSteps = 1;
  using V = Vectors<W>;
  using F = typename V::F;
  using U = typename V::U;

  [[gnu::always_inline]] static void multiply_add(F& sum, const F& a, const F& b) { sum += a * b; }
  // W consecutive steps of one key.
  [[gnu::always_inline]] static F key_steps(const void* key, int64_t step) {
    return load<W>(static_cast<const T*>(key) + step);
  }
  // B's row for P·V, dimensions [d, d + W).
  [[gnu::always_inline]] static F values(const KeyTile& tile, int64_t step, int64_t d) {
    return load<W>(static_cast<const T*>(tile.v) + step * tile.stride + d);
  }
  // 64 probabilities in place of the scores they come from.
  [[gnu::always_inline]] static void store_probabilities(const F (&p)[kTileKeys / W], float* row) {
#pragma GCC unroll 16
    for (int n = 0; n < kTileKeys / W; ++n) store<W>(row + n * W, p[n]);
  }
};

// Into the second-level cache: it can wait for more lines at once than the first.
[[gnu::always_inline]] inline void fetch(const char* from) { __builtin_prefetch(from, 0, 2); }

// B in memory, rows of `stride` floats.
template <typename S>
struct Panel {
  const float* data;
  int64_t stride;
  [[gnu::always_inline]] void begin_step(int64_t, int64_t, int64_t) const {}
  [[gnu::always_inline]] typename S::F at(int64_t step, int64_t column) const {
    return load<S::W>(data + step * stride + column);
  }
};

// B made from V as it goes; meanwhile fetches the next tile's V, in order and as evenly as the products go:
// lines that arrive in bursts wait for each other, and for what the second-level cache is asked meanwhile.
template <typename S>
struct ValuesInPlace {
  const KeyTile& tile;
  int64_t ahead;  // bytes from this tile to the next; 0: none
  [[gnu::always_inline]] void begin_step(int64_t step, int64_t first_column, int64_t columns) const {
    const int64_t done = first_column * kTileKeys + S::kPerStep * step * columns;
    const auto* next = static_cast<const char*>(tile.v) + done * S::kElement + ahead;
    for (int64_t line = 0; line < S::kPerStep * columns * S::kElement; line += 64) fetch(next + line);
  }
  [[gnu::always_inline]] typename S::F at(int64_t step, int64_t column) const {
    return S::values(tile, step, column);
  }
};

// C [Rows, Cols · W] = diag(growth) · C + A · B, or A · B where growth is null. Column 0 of C is B's column
// `first`.
template <typename S, int Rows, int Cols, typename B>
[[gnu::always_inline]] inline void register_block(const float* a, int64_t a_stride, const B& b, int64_t first,
                                                  int steps, float* c, int64_t c_stride,
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
    b.begin_step(k, first, Cols * W);
    F column[Cols];
#pragma GCC unroll 8
    for (int n = 0; n < Cols; ++n) column[n] = b.at(k, first + n * W);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const F row = splat<W>(a[i * a_stride + k]);
#pragma GCC unroll 8
      for (int n = 0; n < Cols; ++n) S::multiply_add(sums[i][n], row, column[n]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < Cols; ++n) store<W>(c + i * c_stride + n * W, sums[i][n]);
  }
}

template <typename S, int Cols, typename B>
void product_columns(const float* a, int64_t a_stride, int rows, const B& b, int64_t first, int steps,
                     float* c, int64_t c_stride, const float* growth) {
  const auto part = [&]<int Rows>(int i) {
    register_block<S, Rows, Cols>(a + i * a_stride, a_stride, b, first, steps, c + i * c_stride + first,
                                  c_stride, growth == nullptr ? nullptr : growth + i);
  };
  int i = 0;
  if constexpr (S::W == 16 && Cols == 2) {
    if (rows == 7) return part.template operator()<7>(i);
    if (rows == 8) return part.template operator()<8>(i);
  }
  for (; i + 6 <= rows; i += 6) part.template operator()<6>(i);
  if (i + 4 <= rows) part.template operator()<4>(i), i += 4;
  if (i + 2 <= rows) part.template operator()<2>(i), i += 2;
  if (i < rows) part.template operator()<1>(i);
}

// 32 vector registers hold 6 × 4 sums, 4 of B and one of A; 16 hold 6 × 2. `columns` is 64, 96 or 128. For 7
// or 8 rows alone, all at once and two columns: B may be made as it is read.
template <typename S, typename B>
void product(const float* a, int64_t a_stride, int rows, const B& b, int columns, int steps, float* c,
             const float* growth) {
  constexpr int kWide = S::W == 16 ? 4 : 2;
  constexpr int kNarrow = S::W == 16 ? 3 : 2;
  if (S::W == 16 && (rows == 7 || rows == 8)) {
    for (int n = 0; n < columns; n += 2 * S::W) {
      product_columns<S, 2>(a, a_stride, rows, b, n, steps, c, columns, growth);
    }
  } else if (columns % (kWide * S::W) == 0) {
    for (int n = 0; n < columns; n += kWide * S::W) {
      product_columns<S, kWide>(a, a_stride, rows, b, n, steps, c, columns, growth);
    }
  } else {
    for (int n = 0; n < columns; n += kNarrow * S::W) {
      product_columns<S, kNarrow>(a, a_stride, rows, b, n, steps, c, columns, growth);
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
        const auto* row = static_cast<const char*>(tile.k) + (key + i) * tile.stride * S::kElement;
        block[i] = key + i < tile.count ? (U)S::key_steps(row, step) : U{};
      }
      transpose<W>(block);
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        store<W>(panel + static_cast<int64_t>(step + i) * kTileKeys + key, (typename S::F)block[i]);
      }
    }
  }
}

// B's rows for P·V, with rows of zeros up to a multiple of S::kPanelSteps; their number.
template <typename S>
int pack_values(const KeyTile& tile, int head_dim, float* panel) {
  const int filled = (tile.count + S::kPerStep - 1) / S::kPerStep;
  const int steps = (filled + S::kPanelSteps - 1) / S::kPanelSteps * S::kPanelSteps;
  for (int64_t step = 0; step < steps; ++step) {
    for (int64_t d = 0; d < head_dim; d += S::W) {
      store<S::W>(panel + step * head_dim + d, step < filled ? S::values(tile, step, d) : typename S::F{});
    }
  }
  return steps;
}

// product() with a panel, or the instruction set's own way.
template <typename S>
void panel_product(const float* a, int64_t a_stride, int rows, const float* panel, int columns, int steps,
                   float* c, const float* growth) {
  if constexpr (S::kPanelSteps > 1) {
    S::panel_product(a, a_stride, rows, panel, columns, steps, c, growth);
  } else {
    product<S>(a, a_stride, rows, Panel<S>{panel, columns}, columns, steps, c, growth);
  }
}

// Four keys, so that a product with a query leaves few sums to be folded: of each four steps in a vector's
// lane of four, step i of the four keys side by side. keys[i] entry 4·l + j = step 4·l + i of key j.
template <int W>
[[gnu::always_inline]] inline void transpose_lanes(typename Vectors<W>::U (&keys)[4]) {
  using U = typename Vectors<W>::U;
  const U low = lanes<W, [](uint32_t i) { return i / 4 * 4 + i % 4 / 2 + i % 2 * W; }>();
  const U high = lanes<W, [](uint32_t i) { return i / 4 * 4 + i % 4 / 2 + i % 2 * W + 2; }>();
  const U lower = lanes<W, [](uint32_t i) { return i / 4 * 4 + i % 2 + i % 4 / 2 * W; }>();
  const U higher = lanes<W, [](uint32_t i) { return i / 4 * 4 + i % 2 + i % 4 / 2 * W + 2; }>();
  const U a = __builtin_shuffle(keys[0], keys[1], low);
  const U b = __builtin_shuffle(keys[0], keys[1], high);
  const U c = __builtin_shuffle(keys[2], keys[3], low);
  const U d = __builtin_shuffle(keys[2], keys[3], high);
  keys[0] = __builtin_shuffle(a, c, lower);
  keys[1] = __builtin_shuffle(a, c, higher);
  keys[2] = __builtin_shuffle(b, d, lower);
  keys[3] = __builtin_shuffle(b, d, higher);
}

// Their partners: of each W steps of a query, vector i entry 4·l + j = step 4·l + i, for all j.
template <typename S>
void spread(QueryBlock& block) {
  constexpr int W = S::W;
  if (block.count > kFewQueries) return;
  for (int first = 0; first < block.count * block.head_dim / S::kPerStep; first += W) {
    const typename S::F steps = load<W>(block.queries + first);
    float* to = block.spread + first * 4;
    store<W>(to, __builtin_shuffle(steps, lanes<W, [](uint32_t i) { return i / 4 * 4; }>()));
    store<W>(to + W, __builtin_shuffle(steps, lanes<W, [](uint32_t i) { return i / 4 * 4 + 1; }>()));
    store<W>(to + 2 * W, __builtin_shuffle(steps, lanes<W, [](uint32_t i) { return i / 4 * 4 + 2; }>()));
    store<W>(to + 3 * W, __builtin_shuffle(steps, lanes<W, [](uint32_t i) { return i / 4 * 4 + 3; }>()));
  }
}

// Entry 4·n + j = the sum over l of sums[n] entry 4·l + j.
template <int W, int Distance = 1>
[[gnu::always_inline]] inline typename Vectors<W>::F folded_lanes(typename Vectors<W>::F (&sums)[W / 4]) {
  if constexpr (Distance < W / 4) {
    const auto low = lanes<W, [](uint32_t i) { return i / 4 & Distance ? W + i - 4 * Distance : i; }>();
    const auto high = lanes<W, [](uint32_t i) { return i / 4 & Distance ? W + i : i + 4 * Distance; }>();
#pragma GCC unroll 2
    for (int n = 0; n < W / 4; n += 2 * Distance) {
      sums[n] = __builtin_shuffle(sums[n], sums[n + Distance], low) +
                __builtin_shuffle(sums[n], sums[n + Distance], high);
    }
    return folded_lanes<W, Distance * 2>(sums);
  }
  return sums[0];
}

// Scores without a panel: four keys at a time are brought into an order that all queries share. Meanwhile
// fetches the next tile's K, in order.
template <typename S, int Queries>
void score_in_place(const KeyTile& tile, QueryBlock& block, int64_t ahead) {
  constexpr int W = S::W;
  using F = typename S::F;
  const int steps = block.head_dim / S::kPerStep;
  const int64_t key_bytes = tile.stride * S::kElement;
  // Groups of four keys that meet the queries' vectors together: it saves reading those again.
  constexpr int kFours = W == 16 && Queries > 2 ? 2 : 1;
  for (int key = 0; key < tile.count; key += W) {
    F sums[Queries][W / 4];
#pragma GCC unroll 4
    for (int n = 0; n < W / 4; n += kFours) {
      const auto* rows = static_cast<const char*>(tile.k) + (key + 4 * n) * key_bytes;
      F sum[kFours][Queries] = {};
      for (int step = 0; step < steps; step += W) {
        constexpr int64_t kStepBytes = 4 * kFours * S::kPerStep * S::kElement;
        for (int64_t line = 0; line < W * kStepBytes; line += 64)
          fetch(rows + step * kStepBytes + line + ahead);
        typename S::U keys[kFours][4];
#pragma GCC unroll 2
        for (int f = 0; f < kFours; ++f) {
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j)
            keys[f][j] = (typename S::U)S::key_steps(rows + (4 * f + j) * key_bytes, step);
          transpose_lanes<W>(keys[f]);
        }
#pragma GCC unroll 8
        for (int q = 0; q < Queries; ++q) {
          const float* query = block.spread + (static_cast<int64_t>(q) * steps + step) * 4;
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const F steps_of_query = load<W>(query + i * W);
#pragma GCC unroll 2
            for (int f = 0; f < kFours; ++f) S::multiply_add(sum[f][q], steps_of_query, (F)keys[f][i]);
          }
        }
      }
#pragma GCC unroll 8
      for (int q = 0; q < Queries; ++q) {
#pragma GCC unroll 2
        for (int f = 0; f < kFours; ++f) sums[q][n + f] = sum[f][q];
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < Queries; ++q) store<W>(block.scores + q * kTileKeys + key, folded_lanes<W>(sums[q]));
  }
}

bool few(const KeyTile& tile, const QueryBlock& block) { return tile.page && block.count <= kFewQueries; }
int64_t ahead_of(const KeyTile& tile) {
  return tile.next == nullptr ? 0 : static_cast<const char*>(tile.next) - static_cast<const char*>(tile.k);
}

// Scores of all queries with the tile's keys into block.scores, not scaled.
template <typename S>
void score(const KeyTile& tile, QueryBlock& block) {
  if (few(tile, block)) {
    using InPlace = void (*)(const KeyTile&, QueryBlock&, int64_t);
    static constexpr InPlace kOf[kFewQueries] = {
        score_in_place<S, 1>, score_in_place<S, 2>, score_in_place<S, 3>, score_in_place<S, 4>,
        score_in_place<S, 5>, score_in_place<S, 6>, score_in_place<S, 7>, score_in_place<S, 8>};
    return kOf[block.count - 1](tile, block, ahead_of(tile));
  }
  const int steps = block.head_dim / S::kPerStep;
  pack_keys<S>(tile, block.head_dim, block.k_panel);
  panel_product<S>(block.queries, steps, block.count, block.k_panel, kTileKeys, steps, block.scores, nullptr);
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
  if (few(tile, block)) {
    const int steps = (tile.count + S::kPerStep - 1) / S::kPerStep;
    product<S>(block.scores, kTileKeys, block.count, ValuesInPlace<S>{tile, ahead_of(tile)}, block.head_dim,
               steps, block.out, block.growth);
    return;
  }
  const int steps = pack_values<S>(tile, block.head_dim, block.v_panel);
  panel_product<S>(block.scores, kTileKeys, block.count, block.v_panel, block.head_dim, steps, block.out,
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
  return {S::kPerStep == 2,     spread<S>,  begin<S>, attend<S>, finish<S>, mass<S>,
          add_probabilities<S>, exp2_all<S>};
}

// The fp32 loops for a machine with vectors of W floats.
template <int W>
[[maybe_unused]] Tiles single_tiles(DType kv) {
  return kv == DType::bf16 ? tiles<SingleSteps<W, bf16>>() : tiles<SingleSteps<W, float>>();
}

}  // namespace
}  // namespace batchmax::kernels::cpu
