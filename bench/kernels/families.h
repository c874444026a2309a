// One function per file of benchmarks: registers them with Google Benchmark, each to report its rate and the
// share of `floor` that it reaches.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

#include "bench/kernels/floor.h"

namespace batchmax::bench {

void register_attention(const Floor& floor);
void register_eviction(const Floor& floor);

// Runs the benchmark's loop; seconds per iteration.
template <typename Work>
double seconds_each(benchmark::State& state, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) work();
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
  return spent.count() / static_cast<double>(state.iterations());
}

// Counters "GB/s" or "GFLOP/s", and "of_floor": the share of read bandwidth or of oneDNN's matmul.
inline void report_bytes(benchmark::State& state, double bytes_per_second, double floor) {
  state.counters["GB/s"] = bytes_per_second / 1e9;
  state.counters["of_floor"] = bytes_per_second / floor;
}
inline void report_flops(benchmark::State& state, double flops_per_second, double floor) {
  state.counters["GFLOP/s"] = flops_per_second / 1e9;
  state.counters["of_floor"] = flops_per_second / floor;
}

}  // namespace batchmax::bench
