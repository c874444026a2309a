// NVTX ranges, behind kernels/core/range.h.
#pragma once

namespace batchmax::kernels::cuda {

void push_range(const char* name);
void pop_range();

}  // namespace batchmax::kernels::cuda
