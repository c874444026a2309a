// A counter in memory that the leader's process shares with the ranks on its machine: they sleep on it, by
// the kernel's futex, until the leader rings. It carries no data and no order; who is woken looks for
// messages where they come. One thread per rank.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "comm/group/mpi_group.h"

namespace batchmax::comm {

class Doorbell {
 public:
  // Every rank of the communicator calls this. A rank that shares no memory with rank 0 (another machine,
  // another container) gets a bell that is never heard.
  explicit Doorbell(const Communicator& communicator);
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  bool audible() const { return rings_ != nullptr; }
  // Rank 0, after it has sent.
  void ring();
  // The others: read before looking for a message, so that a ring after the look ends the wait at once.
  uint32_t rings() const { return rings_ == nullptr ? 0 : rings_->load(std::memory_order_acquire); }
  // REQUIRES audible(). Returns when rings() != seen, or after `longest`, or for no reason.
  void wait(uint32_t seen, std::chrono::microseconds longest) const;

 private:
  std::atomic<uint32_t>* rings_ = nullptr;  // in the shared page
};

}  // namespace batchmax::comm
