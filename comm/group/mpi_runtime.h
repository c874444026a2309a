// MPI's life in this process, and the groups over it. Construct once in main, on the thread that will make
// every later call (the step thread). Errors in MPI are fatal: one mpirun is one fault domain.
#pragma once

#include <memory>

#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {

class MpiRuntime {
 public:
  // Reads the command line as MPI_Init_thread does. A process that mpirun did not start is a group of one.
  MpiRuntime(int* argc, char*** argv);
  // MPI_Finalize, which waits for all ranks; abort() while an exception passes through. Destroy the groups
  // first.
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  int world_rank() const;
  int world_size() const;
  // Ends this process and with it all of its mpirun: a rank that failed must not leave the others waiting.
  [[noreturn]] void abort(int status);

  // The group of this rank when the world is split into groups of `ranks_per_group` consecutive ranks; every
  // rank makes the same calls in the same order. std::runtime_error unless it divides.
  std::unique_ptr<ControlGroup> control_group(int ranks_per_group);
  std::unique_ptr<TensorGroup> tensor_group(int ranks_per_group);

 private:
  const int exceptions_;  // in flight when it was made
};

}  // namespace batchmax::comm
