// What draws remember of each sequence between steps, in the backend's memory: which tokens it has seen, its
// biases and its stop ids. Touched by sequences that ask for it alone. Step thread.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/buffer.h"
#include "kernels/sampling/adjust_logits.h"

namespace batchmax::worker {

class LogitState {
 public:
  LogitState(const kernels::Stream& stream, int32_t sequences, int32_t vocabulary);

  // Before the first step of whoever takes the place `sequence`; at most kMaxLogitEntries.
  void set_entries(const kernels::Stream& stream, int32_t sequence,
                   std::span<const kernels::LogitEntry> entries);
  const kernels::LogitTables& tables() const { return tables_; }
  size_t bytes() const { return counts_.bytes() + entries_.bytes(); }

 private:
  kernels::Buffer counts_;  // not initialised: a sequence's first step clears its own
  kernels::Buffer entries_;
  kernels::PinnedBuffer host_entries_;  // a place is written again only when its last upload is long done
  kernels::LogitTables tables_;
};

}  // namespace batchmax::worker
