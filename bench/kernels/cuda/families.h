// One function per file of benchmarks: registers them with Google Benchmark, each to report its rate and the
// share of `floor` that it reaches.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "bench/kernels/cuda/floor.h"
#include "bench/kernels/cuda/random_memory.h"
#include "bench/kernels/cuda/replay.h"

namespace batchmax::bench {

void register_attention(const kernels::Stream& stream, const DeviceFloor& floor);
void register_eviction(const kernels::Stream& stream, const DeviceFloor& floor);
void register_linear(const kernels::Stream& stream, const DeviceFloor& floor);
void register_sampling(const kernels::Stream& stream, const DeviceFloor& floor);
void register_transform(const kernels::Stream& stream, const DeviceFloor& floor);

// What one benchmark runs, made when it runs and freed afterwards: benchmarks together hold more than the
// device has.
struct Case {
  int sets = 1;                       // calls that rotate among memory of their own
  std::function<void(int set)> work;  // launches the call of one set; owns what it works on
  double bytes = 0;                   // least bytes moved by one call: reports GB/s
  double flops = 0;                   // products and sums of one call: reports TFLOP/s
  double floor = 0;                   // the rate, bytes or flops per second, that "of_floor" is a share of
};

// Registers `name`; reports the median time of a call and its rate.
void register_case(const std::string& name, const kernels::Stream& stream, std::function<Case()> make);

}  // namespace batchmax::bench
