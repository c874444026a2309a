// How many threads the CPU ops run on.
#pragma once

namespace batchmax::kernels {

// Of ops called by this thread from now on. No effect in a build without OpenMP.
void use_cpu_threads(int threads);

// Cores that this process may run on.
int available_cores();

}  // namespace batchmax::kernels
