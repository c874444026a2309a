#include "worker/leader/sequence.h"

#include <algorithm>

#include "monitoring/check.h"

namespace batchmax::worker {

int32_t protected_positions(const kernels::Row& row) {
  const int32_t end = kernels::last_position(row) + 1;
  // Three intervals, each counted where the ones before it do not reach.
  const int32_t sinks = std::min(row.sinks, end);
  const int32_t recent_begin = std::max(sinks, std::max(0, end - row.recent));
  const int32_t recent = std::max(0, end - recent_begin);
  const int32_t tail_begin = std::max(row.tail_begin, sinks);
  const int32_t tail_end = std::min(row.tail_end, recent_begin);
  return sinks + recent + std::max(0, tail_end - tail_begin);
}

Sequence::Sequence(const SequenceRequest& request, int32_t index, bool wants_mass, int32_t rope_table)
    : compression_(request.compression),
      seed_(request.sampling.seed),
      index_(index),
      wants_mass_(wants_mass && request.compression.mode != config::Mode::off),
      rope_table_(rope_table),
      prompt_(static_cast<int32_t>(request.tokens.size())),
      tail_begin_(std::max(0, request.prompt_length - request.compression.prompt_tail)),
      tail_end_(request.prompt_length),
      remaining_(request.remaining()) {
  CHECK_GE(prompt_, 1);
  CHECK_GE(remaining_, 1);
  CHECK_GE(compression_.block, 1);
}

int32_t Sequence::next_tokens() const {
  if (!prefilling()) return 1;
  const int32_t cut = (position_ / compression_.block + 1) * compression_.block;
  return std::min(cut, prompt_) - position_;
}

PlannedRow Sequence::advance() {
  CHECK(!exhausted());
  PlannedRow planned;
  kernels::Row& row = planned.row;
  row.sequence = index_;
  row.resident = slots_;
  row.token_count = next_tokens();
  row.position = position_;
  row.queue_index = -1;
  row.sinks = compression_.sinks;
  row.recent = compression_.recent;
  row.seed = seed_;
  row.rope_table = rope_table_;
  if (kernels::last_position(row) >= tail_end_ - 1) {
    row.tail_begin = tail_begin_;
    row.tail_end = tail_end_;
  }
  if (prefilling()) {
    plan_block(planned);
  } else {
    plan_decode(planned);
  }
  position_ += row.token_count;
  slots_ = row.keep;
  if (planned.samples) ++drawn_;
  plan_victims(planned);
  return planned;
}

void Sequence::plan_block(PlannedRow& planned) const {
  kernels::Row& row = planned.row;
  const int32_t stored = row.resident + row.token_count;
  planned.ends_prompt = row.position + row.token_count == prompt_;
  planned.samples = planned.ends_prompt;
  planned.slots_during = stored;
  row.keep = stored;
  if (compression_.mode == config::Mode::off || stored <= compression_.budget) return;
  if (compression_.mode == config::Mode::full) {
    planned.kind = RowKind::replace;
    planned.slots_during = compression_.budget;
  } else if (planned.ends_prompt) {
    planned.kind = RowKind::compact;
  } else {
    return;  // mode decode holds the whole prompt until its last block
  }
  row.keep = compression_.budget;
  planned.evicted = stored - row.keep;
}

void Sequence::plan_decode(PlannedRow& planned) {
  kernels::Row& row = planned.row;
  planned.kind = decode_kind();
  planned.samples = true;
  if (compression_.mode == config::Mode::off || slots_ < compression_.budget) {
    row.keep = slots_ + 1;
  } else {
    CHECK_LT(queue_next_, queue_size_);
    row.queue_index = queue_next_++;
    row.keep = slots_;
    planned.evicted = 1;
  }
  planned.slots_during = row.keep;
}

void Sequence::plan_victims(PlannedRow& planned) {
  const bool due = compression_.mode != config::Mode::off && !prefilling() && slots_ == compression_.budget &&
                   queue_next_ == queue_size_ && !exhausted();
  if (!due) return;
  const int32_t evictable = slots_ - protected_positions(planned.row);
  CHECK_GE(evictable, 1);
  planned.row.victims = std::min(compression_.decode_block, evictable);
  queue_size_ = planned.row.victims;
  queue_next_ = 0;
}

}  // namespace batchmax::worker
