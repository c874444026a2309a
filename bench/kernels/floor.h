// What this machine can do at best, measured in the same run as the kernels that are held against it.
#pragma once

#include "kernels/core/stream.h"

namespace batchmax::bench {

struct Floor {
  int threads = 1;
  double read_bytes = 0;  // per second, summing a buffer that fits in no cache
  double copy_bytes = 0;  // per second read and written, memcpy between two such buffers
  double bf16_flops = 0;  // per second, oneDNN matmul as kernels/linear runs it; bf16 operands
  double f32_flops = 0;
};

// About five seconds. The best of several rounds: other work on the machine only ever slows a round down.
Floor measure_floor(const kernels::Stream& stream);
void print(const Floor& floor);

}  // namespace batchmax::bench
