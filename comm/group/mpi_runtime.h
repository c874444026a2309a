// MPI's life in this process, and the groups over it. Construct once in main, on the thread that will make every
// later call (the step thread). Errors in MPI are fatal: one mpirun is one fault domain.
#pragma once

#include <memory>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {

class MpiRuntime {
 public:
  // Reads the command line as MPI_Init_thread does. A process that mpirun did not start is a group of one.
  MpiRuntime(int* argc, char*** argv);
  ~MpiRuntime();  // MPI_Finalize
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  int world_rank() const;
  int world_size() const;
  // Splits the world into groups of `ranks_per_group` consecutive ranks; exception unless it divides.
  std::unique_ptr<ControlGroup> control_group(int ranks_per_group);
  std::unique_ptr<TensorGroup> tensor_group(int ranks_per_group);
};

}  // namespace batchmax::comm
