#include "kernels/core/threads.h"

#include <sched.h>

#include <algorithm>

#include "kernels/core/cpu/team.h"

namespace batchmax::kernels {

void use_cpu_threads([[maybe_unused]] int threads) {
#ifdef _OPENMP
  omp_set_num_threads(std::max(1, threads));
#endif
}

int available_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores));
}

}  // namespace batchmax::kernels
