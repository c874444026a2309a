#include "coordinator/routing/page_ledger.h"

#include <algorithm>

#include "monitoring/check.h"

namespace batchmax::coordinator {

void PageLedger::reserve(uint64_t request, uint32_t attempt, int32_t pages) {
  CHECK_GE(pages, 1);
  CHECK(has_room(pages));
  CHECK(entries_.emplace(request, Entry{attempt, pages}).second);
  reserved_ += pages;
}

PageLedger::Booked PageLedger::release(uint64_t request, uint32_t attempt, int32_t pages) {
  const auto found = entries_.find(request);
  if (found == entries_.end() || found->second.attempt != attempt) return Booked::unknown;
  if (pages < 0 || pages >= found->second.pages) return Booked::too_many;
  found->second.pages -= pages;
  reserved_ -= pages;
  return Booked::done;
}

PageLedger::Booked PageLedger::finish(uint64_t request, uint32_t attempt) {
  const auto found = entries_.find(request);
  if (found == entries_.end() || found->second.attempt != attempt) return Booked::unknown;
  reserved_ -= found->second.pages;
  entries_.erase(found);
  return Booked::done;
}

std::vector<uint64_t> PageLedger::requests() const {
  std::vector<uint64_t> all;
  all.reserve(entries_.size());
  for (const auto& [request, entry] : entries_) all.push_back(request);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace batchmax::coordinator
