// One function per file of benchmarks: registers them with Google Benchmark, each to report its rate and the
// share of `floor` that it reaches.
#pragma once

#include <benchmark/benchmark.h>

#include "bench/kernels/floor.h"

namespace batchmax::bench {

void register_attention(const Floor& floor);

// Counters of a benchmark whose every iteration moves `bytes` (against read bandwidth) or computes `flops`
// (against oneDNN's matmul): "GB/s" or "GFLOP/s", and "of_floor".
inline void report_bytes(benchmark::State& state, double bytes, double floor) {
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(bytes / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["of_floor"] = Counter(bytes / floor, Counter::kIsIterationInvariantRate);
}
inline void report_flops(benchmark::State& state, double flops, double floor) {
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(flops / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["of_floor"] = Counter(flops / floor, Counter::kIsIterationInvariantRate);
}

}  // namespace batchmax::bench
