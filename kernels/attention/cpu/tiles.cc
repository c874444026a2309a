#include "kernels/attention/cpu/tiles.h"

#include "monitoring/check.h"

namespace batchmax::kernels::cpu {

Tiles tiles_for(Isa isa, DType q, DType kv) {
  CHECK(isa <= best_isa());
#if defined(__x86_64__)
  if (isa >= Isa::avx512_bf16 && q == DType::bf16 && kv == DType::bf16) {
    return isa == Isa::amx_bf16 ? amx_bf16_tiles() : avx512_bf16_tiles();
  }
  if (isa >= Isa::avx512) return avx512_tiles(kv);
  if (isa == Isa::avx2) return avx2_tiles(kv);
#endif
  (void)q;
  return baseline_tiles(kv);
}

}  // namespace batchmax::kernels::cpu
