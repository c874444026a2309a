// The ranks of one tensor-parallel group, seen from the host: broadcasts of bytes from rank 0 (the leader).
// Waiting may last for hours between requests and must not spin: an idle rank costs < 2 % of a core and is
// working again < 2 ms after the leader sent. Implementations: threads of one process, MPI. One thread per
// rank.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace batchmax::comm {

class ControlGroup {
 public:
  virtual ~ControlGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // This rank among all that were started together on its machine (all groups of one mpirun): for the choice
  // of a device and the share of the cores.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;

  // Rank 0 sends `bytes`; the others wait (asleep) and return what rank 0 sent. Messages arrive in order.
  // Rank 0 does not wait for the others to take it, unless it is longer than 64 KiB. Throws
  // std::runtime_error when the group is broken.
  virtual std::vector<std::byte> broadcast(std::vector<std::byte> bytes) = 0;
  // Every rank gives bytes (lengths may differ); rank 0 gets all of them in rank order, the others an empty
  // list.
  virtual std::vector<std::vector<std::byte>> gather(std::vector<std::byte> bytes) = 0;
  virtual void barrier() = 0;
};

// `size` members that talk within one process; member i is rank i and may be used by its own thread.
std::vector<std::unique_ptr<ControlGroup>> make_thread_control_groups(int size);

}  // namespace batchmax::comm
