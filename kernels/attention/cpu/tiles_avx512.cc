#include "kernels/attention/cpu/tile_code.h"

namespace batchmax::kernels::cpu {

Tiles avx512_tiles(DType kv) { return single_tiles<16>(kv); }

}  // namespace batchmax::kernels::cpu
