// Rates of the CPU kernels beside what the machine can do at best, measured in the same run.
//   bench_kernels [--benchmark_filter=REGEX] [--benchmark_repetitions=5 ...]; threads: OMP_NUM_THREADS
#include "bench/kernels/families.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const batchmax::bench::Floor floor = batchmax::bench::measure_floor(batchmax::kernels::Stream::cpu());
  batchmax::bench::print(floor);
  batchmax::bench::register_attention(floor);
  batchmax::bench::register_eviction(floor);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
