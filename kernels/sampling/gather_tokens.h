// The ids that decode rows start from: what each sequence drew last, without a trip through the host.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

// ids[row.token_begin] = last_token[row.sequence]. rows: token_count == 1; last_token i32 [max_sequences], as
// sample() leaves it; ids i32 [T], the other entries are left alone, and those of padding rows.
void gather_tokens(const Stream& stream, const Rows& rows, const Tensor& last_token, const Tensor& ids);

}  // namespace batchmax::kernels
