// A plain copy kernel, for the ceiling of kernels that only move memory.
#pragma once

#include "kernels/core/buffer.h"

namespace batchmax::bench {

// to = from; both of the same size, a multiple of 64 KiB. Launches only.
void copy(const kernels::Stream& stream, const kernels::Buffer& from, const kernels::Buffer& to);

}  // namespace batchmax::bench
