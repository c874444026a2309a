#include "kernels/attention/cpu/tile_code.h"

namespace batchmax::kernels::cpu {

Tiles avx2_tiles(DType kv) { return single_tiles<8>(kv); }

}  // namespace batchmax::kernels::cpu
