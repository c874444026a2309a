// Gated activation of the feed-forward layer: out = silu(gate) · up.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// gate_up [T, 2F]: gate in the first F columns, up in the last; out [T, F]; both bf16 or both fp32.
void silu_mul(const Stream& stream, const Tensor& gate_up, const Tensor& out);

}  // namespace batchmax::kernels
