// Rates of the CUDA kernels beside what the device can do at best, measured in the same run.
//   bench_kernels_cuda [--benchmark_filter=REGEX] [--benchmark_out=FILE --benchmark_out_format=json]
// The device: the first of CUDA_VISIBLE_DEVICES.
#include <cstdio>
#include <exception>

#include "bench/kernels/cuda/families.h"

namespace batchmax::bench {

void register_case(const std::string& name, const kernels::Stream& stream, std::function<Case()> make) {
  const auto run = [&stream, make = std::move(make)](benchmark::State& state) {
    const Case made = make();
    Replay replay(stream, made.sets, made.work);
    constexpr int kRounds = 15;
    const double seconds = replay.median_seconds(kRounds);
    for (auto _ : state) state.SetIterationTime(seconds);
    const double amount = made.bytes > 0 ? made.bytes : made.flops;
    state.counters[made.bytes > 0 ? "GB/s" : "TFLOP/s"] = amount / seconds / (made.bytes > 0 ? 1e9 : 1e12);
    if (made.floor > 0) state.counters["of_floor"] = amount / seconds / made.floor;
  };
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace batchmax::bench

int main(int argc, char** argv) {
  using namespace batchmax;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    const kernels::Stream stream = kernels::Stream::cuda(0);
    const bench::DeviceFloor floor = bench::measure_device_floor(stream);
    bench::print(floor);
    bench::register_linear(stream, floor);
    bench::register_sampling(stream, floor);
    bench::register_transform(stream, floor);
    bench::register_attention(stream, floor);
    bench::register_eviction(stream, floor);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_kernels_cuda: %s\n", error.what());
    return 1;
  }
}
