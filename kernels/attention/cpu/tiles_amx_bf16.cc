// Products of tiles, 16 rows of 32 bf16 by 16 pairs of 16 columns (tdpbf16ps): products exact, sums fp32. All
// else, and few queries on pages, as with dot products of pairs.
#include "kernels/attention/cpu/pair_steps.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int kTile = 16;  // rows of a tile, and fp32 or pairs in each of them

// All 8 tiles are whole while this lives. Left as a thread finds them at its start: oneDNN asks the
// processor for the shapes, and the system has nothing to keep.
class Shapes {
 public:
  Shapes() {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {kTile, kTile, kTile, kTile, kTile, kTile, kTile, kTile};
    } static constexpr kWhole;
    _tile_loadconfig(&kWhole);
  }
  ~Shapes() { _tile_release(); }
  Shapes(const Shapes&) = delete;
  Shapes& operator=(const Shapes&) = delete;
};

// C [16 or 32, 32] = C + A · B, or A · B.
template <bool Two, bool Add>
[[gnu::always_inline]] inline void tile_block(const float* a, int64_t a_stride, const float* b,
                                              int64_t b_stride, int steps, float* c, int64_t c_stride) {
  constexpr int64_t kFloat = sizeof(float);
  if constexpr (Add) {
    _tile_loadd(0, c, c_stride * kFloat);
    _tile_loadd(1, c + kTile, c_stride * kFloat);
    if constexpr (Two) {
      _tile_loadd(2, c + kTile * c_stride, c_stride * kFloat);
      _tile_loadd(3, c + kTile * c_stride + kTile, c_stride * kFloat);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Two) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (int k = 0; k < steps; k += kTile) {
    _tile_loadd(4, a + k, a_stride * kFloat);
    _tile_loadd(6, b + k * b_stride, b_stride * kFloat);
    _tile_loadd(7, b + k * b_stride + kTile, b_stride * kFloat);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Two) {
      _tile_loadd(5, a + kTile * a_stride + k, a_stride * kFloat);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_stride * kFloat);
  _tile_stored(1, c + kTile, c_stride * kFloat);
  if constexpr (Two) {
    _tile_stored(2, c + kTile * c_stride, c_stride * kFloat);
    _tile_stored(3, c + kTile * c_stride + kTile, c_stride * kFloat);
  }
}

template <bool Add>
void tile_product(const float* a, int64_t a_stride, int rows, const float* b, int columns, int steps,
                  float* c) {
  const Shapes shapes;
  for (int i = 0; i < rows; i += 2 * kTile) {
    const float* a_rows = a + i * a_stride;
    float* c_rows = c + static_cast<int64_t>(i) * columns;
    const bool two = i + kTile < rows;
    for (int n = 0; n < columns; n += 2 * kTile) {
      two ? tile_block<true, Add>(a_rows, a_stride, b + n, columns, steps, c_rows + n, columns)
          : tile_block<false, Add>(a_rows, a_stride, b + n, columns, steps, c_rows + n, columns);
    }
  }
}

struct TileSteps : PairSteps {
  static constexpr int kPanelSteps = kTile;

  // Rows past the last are multiplied too, up to a multiple of 16: what comes of them stays in them.
  static void panel_product(const float* a, int64_t a_stride, int rows, const float* panel, int columns,
                            int steps, float* c, const float* growth) {
    if (growth == nullptr) return tile_product<false>(a, a_stride, rows, panel, columns, steps, c);
    for (int i = 0; i < rows; ++i) {
      if (growth[i] == 1.0F) continue;
      for (int64_t n = static_cast<int64_t>(i) * columns; n < (i + 1L) * columns; n += W)
        store<W>(c + n, load<W>(c + n) * splat<W>(growth[i]));
    }
    tile_product<true>(a, a_stride, rows, panel, columns, steps, c);
  }
};

}  // namespace

Tiles amx_bf16_tiles() { return tiles<TileSteps>(); }

}  // namespace batchmax::kernels::cpu
