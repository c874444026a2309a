#include "kernels/core/cuda/range.h"

#include <nvtx3/nvToolsExt.h>

namespace batchmax::kernels::cuda {

void push_range(const char* name) { nvtxRangePushA(name); }
void pop_range() { nvtxRangePop(); }

}  // namespace batchmax::kernels::cuda
