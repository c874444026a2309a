#include "comm/group/mpi_runtime.h"

#include <exception>
#include <stdexcept>
#include <string>

#include "comm/group/mpi_group.h"

namespace batchmax::comm {
namespace {

std::unique_ptr<Communicator> split_world(int world_rank, int world_size, int ranks_per_group) {
  if (ranks_per_group < 1 || world_size % ranks_per_group != 0) {
    throw std::runtime_error("mpirun started " + std::to_string(world_size) + " processes; groups of " +
                             std::to_string(ranks_per_group) + " ranks need a multiple of that");
  }
  MPI_Comm handle = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world_rank / ranks_per_group, world_rank, &handle);
  return std::make_unique<Communicator>(handle);
}

LocalRank find_local_rank() {
  MPI_Comm handle = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &handle);
  const Communicator machine(handle);
  return {machine.rank(), machine.size()};
}

}  // namespace

Communicator::~Communicator() { MPI_Comm_free(&handle_); }
int Communicator::rank() const {
  int rank = 0;
  MPI_Comm_rank(handle_, &rank);
  return rank;
}
int Communicator::size() const {
  int size = 0;
  MPI_Comm_size(handle_, &size);
  return size;
}

void wait_all(std::vector<MPI_Request>& requests, const Backoff::Policy& policy) {
  Backoff backoff(policy);
  for (;;) {
    int done = 0;
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    if (done != 0) break;
    backoff.pause();
  }
  requests.clear();
}

MpiRuntime::MpiRuntime(int* argc, char*** argv) : exceptions_(std::uncaught_exceptions()) {
  int provided = 0;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_FUNNELED) {
    throw std::runtime_error("MPI cannot be used from a program with threads; install Open MPI 4.1 or later");
  }
}

MpiRuntime::~MpiRuntime() {
  if (std::uncaught_exceptions() > exceptions_) abort(1);
  MPI_Finalize();
}

void MpiRuntime::abort(int status) {
  MPI_Abort(MPI_COMM_WORLD, status);
  std::terminate();  // not reached: MPI_Abort does not return
}

int MpiRuntime::world_rank() const {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int MpiRuntime::world_size() const {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

std::unique_ptr<ControlGroup> MpiRuntime::control_group(int ranks_per_group) {
  auto communicator = split_world(world_rank(), world_size(), ranks_per_group);
  return make_mpi_control_group(std::move(communicator), find_local_rank());
}
std::unique_ptr<TensorGroup> MpiRuntime::tensor_group(int ranks_per_group) {
  auto communicator = split_world(world_rank(), world_size(), ranks_per_group);
  return make_mpi_tensor_group(std::move(communicator), find_local_rank());
}

}  // namespace batchmax::comm
