// Vectors of four: what every x86-64 and every 64-bit ARM has.
#include "kernels/attention/cpu/tile_code.h"

namespace batchmax::kernels::cpu {

Tiles baseline_tiles(DType kv) { return single_tiles<4>(kv); }

}  // namespace batchmax::kernels::cpu
