// How many threads the CPU ops run on, and on which cores.
#pragma once

namespace batchmax::kernels {

// Of ops called by this thread from now on. No effect in a build without OpenMP.
void use_cpu_threads(int threads);

// Cores that this process may run on.
int available_cores();

// The calling thread, and threads that it starts from now on, keep to those cores of a NUMA node that they
// may use. false, and nothing changes, where the machine does not show that node or leaves no core of it.
bool bind_to_numa_node(int node);

}  // namespace batchmax::kernels
