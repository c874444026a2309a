// One process of a suite that mpirun starts; its main is in mpi_process.cc. A failed check ends this process
// at once, and mpirun the others: ranks whose tests have gone different ways would wait for each other.
#pragma once

#include <vector>

#include "comm/group/mpi_runtime.h"

namespace batchmax::comm {

// While the tests run.
MpiRuntime& mpi_runtime();
// The numbers of ranks that the world can be split into.
std::vector<int> sizes_that_divide_the_world();

}  // namespace batchmax::comm
