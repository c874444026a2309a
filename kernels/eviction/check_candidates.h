// Checks that scoring and selecting share: our own bugs are found before a kernel starts.
#pragma once

#include "kernels/eviction/score.h"

namespace batchmax::kernels {

// The largest head dimension that scores of keys are written for, all multiples of 32; model families use 64,
// 96 and 128.
inline constexpr int kMaxHeadDim = 128;

// Layers within the view, staging tensors present where the score reads them, shapes as the contract says.
void check_candidates(Dims& dims, const Candidates& candidates);
// Every row's candidates fit in `pitch`.
void check_pitch(const Candidates& candidates, int64_t pitch);

}  // namespace batchmax::kernels
