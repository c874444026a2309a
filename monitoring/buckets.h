// Upper bounds in seconds of the histograms, the same where values are counted and where they are shown.
#pragma once

#include <array>

namespace batchmax::monitoring {

// One step of a group: a decode step of a small model on a GPU to a prefill step on a CPU.
inline constexpr std::array<double, 12> kStepSecondsBuckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                                               0.1,   0.2,   0.5,   1.0,  2.0,  5.0};

}  // namespace batchmax::monitoring
