// Steps of bf16 pairs for the tiles_*.cc that are compiled with vdpbf16ps; internal linkage as in
// tile_code.h.
#pragma once

#include <immintrin.h>

#include "kernels/attention/cpu/tile_code.h"

namespace batchmax::kernels::cpu {
namespace {

struct PairSteps {
  static constexpr int W = 16;
  static constexpr int kPerStep = 2;
  static constexpr int kElement = 2;
  static constexpr int kPanelSteps = 1;
  using V = Vectors<W>;
  using F = V::F;
  using U = V::U;

  [[gnu::always_inline]] static void multiply_add(F& sum, const F& a, const F& b) {
    sum = (F)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512)a, (__m512bh)(__m512)b);
  }
  [[gnu::always_inline]] static F key_steps(const void* key, int64_t step) {
    return (F) * reinterpret_cast<const V::ULoose*>(static_cast<const bf16*>(key) + 2 * step);
  }
  // The values of two keys, interleaved; the partner of an odd last key is 0.
  [[gnu::always_inline]] static F values(const KeyTile& tile, int64_t step, int64_t d) {
    const bf16* first = static_cast<const bf16*>(tile.v) + 2 * step * tile.stride + d;
    const V::H even = *reinterpret_cast<const V::HLoose*>(first);
    const V::H odd =
        2 * step + 1 < tile.count ? *reinterpret_cast<const V::HLoose*>(first + tile.stride) : V::H{};
    return (F)__builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8,
                                      24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  [[gnu::always_inline]] static void store_probabilities(const F (&p)[kTileKeys / W], float* row) {
    for (int n = 0; n < kTileKeys / W; n += 2) {
      const __m512bh rounded = _mm512_cvtne2ps_pbh((__m512)p[n + 1], (__m512)p[n]);
      std::memcpy(row + n * W / 2, &rounded, sizeof(rounded));
    }
  }
};

}  // namespace
}  // namespace batchmax::kernels::cpu
