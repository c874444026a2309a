// The inner loops of attention over one tile of up to 64 keys, compiled once per instruction set (tiles_*.cc
// from the one source tile_code.h) and chosen when the program runs. Pure functions of their arguments, any
// thread.
#pragma once

#include <cstdint>

#include "kernels/core/cpu/isa.h"
#include "kernels/core/kv_view.h"

namespace batchmax::kernels::cpu {

inline constexpr int kTileKeys = kPageSlots;
inline constexpr int kTileQueries = 96;  // 16 times the 6 rows that the register block of tile_code.h holds
inline constexpr int kFewQueries = 8;    // blocks that take pages of keys where they lie (decode)
inline constexpr int kMaxHeadDim = 128;

// Keys and values as they lie in a page or in staging: `count` rows of head_dim elements, `stride` elements
// apart.
struct KeyTile {
  const void* k = nullptr;
  const void* v = nullptr;  // not read by `mass`
  int64_t stride = 0;
  int32_t count = 0;  // 1..64
  bool page = false;  // all 64 rows may be read, those past the count hold anything
  const void* next =
      nullptr;  // pages: k of the one to be attended after this, to be fetched meanwhile; or null
};

// Some queries (token × head of one GQA group) and what attention has gathered for them so far. About 200 KB,
// meant for the stack: pages that are not touched cost nothing.
struct QueryBlock {
  int32_t count = 0;  // 1..kTileQueries
  int32_t head_dim = 0;
  float scale = 0;                // of the scores, times log2 e: all exponentials are powers of two
  int32_t visible[kTileQueries];  // query i sees the first visible[i] keys of the tile at hand; may be <= 0
  float top[kTileQueries];        // largest score so far
  float growth[kTileQueries];     // scratch: what the last tile did to `top`
  // Rows of head_dim fp32, or head_dim / 2 pairs of bf16, as Tiles::paired says.
  alignas(64) float queries[kTileQueries * kMaxHeadDim];
  alignas(64) float spread[kFewQueries * kMaxHeadDim * 4];  // the queries, each entry four times; or nothing
  alignas(64) float sums[kTileQueries * 16];          // Σ 2^(score − top), spread over up to 16 lanes
  alignas(64) float out[kTileQueries * kMaxHeadDim];  // Σ 2^(score − top) · v, rows of head_dim
  alignas(64) float scores[kTileQueries * kTileKeys];
  alignas(64) float k_panel[kTileKeys * kMaxHeadDim];
  alignas(64) float v_panel[kTileKeys * kMaxHeadDim];
};

struct Tiles {
  // Queries are held as pairs of bf16 (the dtypes of q and KV are both bf16 and the machine multiplies such
  // pairs); probabilities are then rounded to bf16 before they meet V. Otherwise all is fp32.
  bool paired;
  // Comes after the queries and before all else: brings few of them into the order in which keys are met.
  void (*spread)(QueryBlock& block);
  // top, sums, out of an empty set of keys.
  void (*begin)(QueryBlock& block);
  // Adds a tile. kept (optional): scores · scale, row i at kept + i * kept_stride, count entries.
  void (*attend)(const KeyTile& tile, QueryBlock& block, float* kept, int64_t kept_stride);
  // sums[i * 16] = the sum over the lanes.
  void (*finish)(QueryBlock& block);
  // received[j] += Σ_i 2^(score_ij − lse2[i]) over the visible keys; lse2 in units of log2.
  void (*mass)(const KeyTile& tile, QueryBlock& block, const float* lse2, float* received);
  // received[j] += 2^(kept[j] − lse2), j < count.
  void (*add_probabilities)(const float* kept, int32_t count, float lse2, float* received);
  // out[i] = 2^x[i]: relative error below 3e-7 for x in [-126, 127], 0 below.
  void (*exp2)(const float* x, int32_t count, float* out);
};

// The loops for q of type `q` and KV of type `kv` (each bf16 or f32). `isa` at most best_isa().
Tiles tiles_for(Isa isa, DType q, DType kv);

// One per source file; tiles_for() chooses.
Tiles baseline_tiles(DType kv);
#if defined(__x86_64__)
Tiles avx2_tiles(DType kv);
Tiles avx512_tiles(DType kv);
Tiles avx512_bf16_tiles();
Tiles amx_bf16_tiles();
#endif

}  // namespace batchmax::kernels::cpu
