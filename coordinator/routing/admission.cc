#include "coordinator/routing/admission.h"

#include <algorithm>

#include "monitoring/check.h"

namespace batchmax::coordinator {

void Admission::add_group(GroupId group, int32_t capacity_pages, int32_t max_sequences) {
  CHECK(groups_.emplace(group, PageLedger(capacity_pages, max_sequences)).second);
}

std::vector<uint64_t> Admission::remove_group(GroupId group) {
  const auto found = groups_.find(group);
  CHECK(found != groups_.end());
  std::vector<uint64_t> lost = found->second.requests();
  groups_.erase(found);
  suspended_.erase(group);
  return lost;
}

void Admission::suspend(GroupId group) {
  CHECK(groups_.contains(group));
  suspended_.insert(group);
}

bool Admission::resume(GroupId group) { return suspended_.erase(group) > 0; }

int32_t Admission::largest_capacity() const {
  int32_t largest = 0;
  for (const auto& [group, ledger] : groups_) largest = std::max(largest, ledger.capacity());
  return largest;
}

bool Admission::enqueue(uint64_t request, const Demand& demand) {
  CHECK(queue_.empty() || queue_.rbegin()->first < request);
  const bool full =
      waiting() >= limits_.requests || waiting_tokens_ + int64_t{demand.tokens} > limits_.tokens;
  if (full && !(queue_.empty() && find_room(demand.pages))) return false;
  requeue(request, demand);
  return true;
}

void Admission::requeue(uint64_t request, const Demand& demand) {
  CHECK(queue_.emplace(request, demand).second);
  waiting_tokens_ += demand.tokens;
}

bool Admission::withdraw(uint64_t request) {
  const auto found = queue_.find(request);
  if (found == queue_.end()) return false;
  remove(found);
  return true;
}

std::map<uint64_t, Demand>::iterator Admission::remove(std::map<uint64_t, Demand>::iterator waiting) {
  waiting_tokens_ -= waiting->second.tokens;
  return queue_.erase(waiting);
}

std::optional<GroupId> Admission::find_room(int32_t pages) const {
  std::vector<GroupLoad> loads;
  loads.reserve(groups_.size());
  for (const auto& [group, ledger] : groups_) {
    loads.push_back({group, ledger.headroom(), ledger.sequences(),
                     ledger.has_room(pages) && !suspended_.contains(group)});
  }
  return route(loads);
}

std::optional<Admission::Dispatch> Admission::dispatch() {
  const int32_t largest = largest_capacity();
  const auto first = std::find_if(queue_.begin(), queue_.end(),
                                  [&](const auto& waiting) { return waiting.second.pages <= largest; });
  if (first == queue_.end()) return std::nullopt;
  const auto [request, demand] = *first;
  const std::optional<GroupId> group = find_room(demand.pages);
  if (!group) return std::nullopt;
  groups_.at(*group).reserve(request, demand.attempt, demand.pages);
  remove(first);
  return Dispatch{request, demand.attempt, *group};
}

std::vector<uint64_t> Admission::stranded() const {
  const int32_t largest = largest_capacity();
  std::vector<uint64_t> all;
  for (const auto& [request, demand] : queue_) {
    if (demand.pages > largest) all.push_back(request);
  }
  return all;
}

WaitingFor Admission::waiting_for() const {
  WaitingFor what;
  if (suspended_.size() == groups_.size()) {
    what.group = waiting();
    return what;
  }
  const int32_t largest = largest_capacity();
  const Demand* oldest = nullptr;
  for (const auto& [request, demand] : queue_) {
    if (demand.pages > largest) {
      ++what.group;
    } else if (oldest == nullptr) {
      oldest = &demand;
    }
  }
  const bool pages_free =
      oldest != nullptr && std::any_of(groups_.begin(), groups_.end(), [&](const auto& group) {
        return oldest->pages <= group.second.headroom() && !suspended_.contains(group.first);
      });
  (pages_free ? what.sequences : what.pages) = waiting() - what.group;
  return what;
}

PageLedger::Booked Admission::release(GroupId group, uint64_t request, uint32_t attempt, int32_t pages) {
  return groups_.at(group).release(request, attempt, pages);
}

PageLedger::Booked Admission::finish(GroupId group, uint64_t request, uint32_t attempt) {
  return groups_.at(group).finish(request, attempt);
}

}  // namespace batchmax::coordinator
