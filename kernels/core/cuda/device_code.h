// Which devices this build has machine code for.
#pragma once

namespace batchmax::kernels::cuda {

// Throws std::runtime_error as kernels/core/cuda/check.h says when the device cannot be asked.
bool has_code_for_current_device();

}  // namespace batchmax::kernels::cuda
