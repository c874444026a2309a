// The two groups over MPI; made by MpiRuntime. Both own a communicator of their own, so their messages never
// meet. Waits poll with Backoff: MPI's own waits would spin.
#pragma once

#include <mpi.h>
#include <memory>

#include "comm/group/backoff.h"
#include "comm/group/control_group.h"
#include "comm/group/tensor_group.h"

namespace batchmax::comm {

// This process among all that mpirun started on this machine.
struct LocalRank {
  int rank;
  int size;
};

// Owns an MPI communicator.
class Communicator {
 public:
  explicit Communicator(MPI_Comm handle) : handle_(handle) {}
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  MPI_Comm get() const { return handle_; }
  int rank() const;
  int size() const;

 private:
  MPI_Comm handle_;
};

std::unique_ptr<ControlGroup> make_mpi_control_group(std::unique_ptr<Communicator> communicator,
                                                     LocalRank local);
std::unique_ptr<TensorGroup> make_mpi_tensor_group(std::unique_ptr<Communicator> communicator,
                                                   LocalRank local);

// Waits for all of them, asleep between questions as the policy says.
void wait_all(std::vector<MPI_Request>& requests, const Backoff::Policy& policy);

}  // namespace batchmax::comm
