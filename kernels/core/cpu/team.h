// The OpenMP team of the calling thread, or the calling thread alone in a build without OpenMP.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

namespace batchmax::kernels::cpu {

// Threads that a parallel region would have here.
inline int most_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// This thread's number within its parallel region, in [0, most_threads()).
inline int this_thread() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

}  // namespace batchmax::kernels::cpu
