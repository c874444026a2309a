// The program batchmax-worker, but for what computes: one rank of a group, started by mpirun. The main thread
// is the step thread and the only one that uses MPI; rank 0 of a group has an I/O thread beside it, every
// rank a watchdog.
#pragma once

#include <functional>
#include <memory>

#include "worker/replica.h"

namespace batchmax::worker {

// As make_replica (replica.h), whose conditions hold.
using ReplicaMaker = std::function<std::unique_ptr<Replica>(const config::Settings&, comm::ControlGroup&,
                                                            comm::TensorGroup&, const monitoring::Clock&,
                                                            const monitoring::Log&, monitoring::Progress&)>;

// Returns the exit status: 0 after the coordinator's Drain, 1 where the coordinator was lost, 2 where the
// same start would fail again. Errors after the start end all ranks of the mpirun.
int run_program(int argc, char** argv, const ReplicaMaker& make_replica);

}  // namespace batchmax::worker
