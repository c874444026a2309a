// Who runs next and where: the queue of requests that wait for pages, and the page ledgers of the groups. A
// pure state machine.
//
// The queue is first come, first served: a request is never overtaken by a younger one that fits where it
// does not, so no request starves, however large. Only requests that none of the present groups could ever
// hold are passed over: they wait for a larger group to come back. Request ids grow with age; a request that
// lost its group keeps its id and so its place.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "coordinator/routing/page_ledger.h"
#include "coordinator/routing/router.h"

namespace batchmax::coordinator {

struct Demand {
  uint32_t attempt = 1;
  int32_t pages = 0;
  int32_t tokens = 0;  // of the prompt, for the queue's bound
};

struct QueueLimits {
  int32_t requests = 0;
  int64_t tokens = 0;
};

// What the waiting requests wait for. The queue is first come, first served: all that could run on a present
// group wait for what the oldest of them lacks.
struct WaitingFor {
  int32_t pages = 0;
  int32_t sequences = 0;  // pages are free, but those groups run as many sequences as they may
  int32_t group = 0;      // no present group could ever hold them, or all have fallen silent
};

class Admission {
 public:
  explicit Admission(QueueLimits limits) : limits_(limits) {}

  void add_group(GroupId group, int32_t capacity_pages, int32_t max_sequences);
  // The requests that were sent to it and not finished, oldest first.
  std::vector<uint64_t> remove_group(GroupId group);
  bool has_groups() const { return !groups_.empty(); }
  // A group that has fallen silent gets nothing more until it speaks again: if it is lost, what it was given
  // would have spent an attempt on it. REQUIRES a present group.
  void suspend(GroupId group);
  bool resume(GroupId group);        // false: it was not suspended
  int32_t largest_capacity() const;  // of the present groups; 0: none

  // False: the queue is full. A request that can run at once is never turned away for that.
  bool enqueue(uint64_t request, const Demand& demand);
  // Back into the queue after its group was lost. Bounds do not apply: it was accepted once.
  void requeue(uint64_t request, const Demand& demand);
  bool withdraw(uint64_t request);  // false: it does not wait

  struct Dispatch {
    uint64_t request;
    uint32_t attempt;
    GroupId group;
  };
  // The next request that runs, its pages reserved; empty: nobody can now.
  std::optional<Dispatch> dispatch();
  // Waiting requests that need more than any present group has, oldest first.
  std::vector<uint64_t> stranded() const;

  // REQUIRES a present group.
  PageLedger::Booked release(GroupId group, uint64_t request, uint32_t attempt, int32_t pages);
  PageLedger::Booked finish(GroupId group, uint64_t request, uint32_t attempt);

  int32_t waiting() const { return static_cast<int32_t>(queue_.size()); }
  WaitingFor waiting_for() const;  // time: the length of the queue
  int64_t waiting_tokens() const { return waiting_tokens_; }
  const std::map<GroupId, PageLedger>& groups() const { return groups_; }

 private:
  std::optional<GroupId> find_room(int32_t pages) const;
  std::map<uint64_t, Demand>::iterator remove(std::map<uint64_t, Demand>::iterator waiting);

  const QueueLimits limits_;
  std::map<GroupId, PageLedger> groups_;
  std::set<GroupId> suspended_;       // present, silent
  std::map<uint64_t, Demand> queue_;  // by request, which is by age
  int64_t waiting_tokens_ = 0;
};

}  // namespace batchmax::coordinator
