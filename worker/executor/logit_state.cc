#include "worker/executor/logit_state.h"

#include <algorithm>
#include <cstddef>

#include "monitoring/check.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {
namespace {

constexpr size_t kEntryBytes = kMaxLogitEntries * sizeof(kernels::LogitEntry);

}  // namespace

LogitState::LogitState(const kernels::Stream& stream, int32_t sequences, int32_t vocabulary)
    : counts_(stream, static_cast<size_t>(sequences) * static_cast<size_t>(vocabulary) * sizeof(int32_t)),
      entries_(stream, static_cast<size_t>(sequences) * kEntryBytes),
      host_entries_(stream, entries_.bytes()),
      tables_{kernels::Tensor(counts_.data(), kernels::DType::i32, {sequences, vocabulary}),
              kernels::Tensor(entries_.data(), kernels::DType::u8,
                              {sequences, static_cast<int64_t>(kEntryBytes)})} {}

void LogitState::set_entries(const kernels::Stream& stream, int32_t sequence,
                             std::span<const kernels::LogitEntry> entries) {
  CHECK_GE(sequence, 0);
  CHECK_LT(sequence, tables_.entries.dim(0));
  CHECK_LE(entries.size(), static_cast<size_t>(kMaxLogitEntries));
  const size_t offset = static_cast<size_t>(sequence) * kEntryBytes;
  std::byte* host = static_cast<std::byte*>(host_entries_.data()) + offset;
  std::copy(entries.begin(), entries.end(), reinterpret_cast<kernels::LogitEntry*>(host));
  kernels::upload(stream, static_cast<std::byte*>(entries_.data()) + offset, host, entries.size_bytes());
}

}  // namespace batchmax::worker
