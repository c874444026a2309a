// RMS norm of one row, for the loops of kernels/core/cpu/isa.h. out may be x.
#pragma once

#include <cmath>

#include "kernels/core/cpu/lanes.h"

namespace batchmax::kernels::cpu {

// 1 / sqrt(mean(x²) + eps)
template <typename T>
[[gnu::always_inline]] inline float inverse_rms(const T* x, float eps, int64_t d) {
  Floats squares = {};
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    Floats value;
    load(x + i, value);
    squares += value * value;
  }
  float sum = total(squares);
  for (; i < d; ++i) sum += to_float(x[i]) * to_float(x[i]);
  return 1.0F / std::sqrt(sum / static_cast<float>(d) + eps);
}

template <typename T, typename Out>
[[gnu::always_inline]] inline void norm_row(const T* x, const T* weight, float eps, Out* out, int64_t d) {
  const float scale = inverse_rms(x, eps, d);
  int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    Floats value, factor;
    load(x + i, value);
    load(weight + i, factor);
    store(value * scale * factor, out + i);
  }
  for (; i < d; ++i) store_one(to_float(x[i]) * scale * to_float(weight[i]), out + i);
}

}  // namespace batchmax::kernels::cpu
