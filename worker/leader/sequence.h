// Where one sequence stands, as far as it has been planned, and which row it needs next. Nothing here depends
// on sampled ids or on other sequences: that is why steps can be planned ahead, and why a request's blocks,
// keep sets and victims are the same alone and in a crowd. A pure state machine, one thread.
//
// Invariants: slots never exceed the budget between steps (mode full always, mode decode after the prompt);
// whenever a decode row is due with slots == budget, its victim queue is not empty.
#pragma once

#include <cstdint>

#include "worker/leader/sequence_request.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// Positions <= the row's last one that it protects. All of them are resident: each was protected since it was
// new.
int32_t protected_positions(const kernels::Row& row);

// One row of the sequence; token_begin is left 0 for the plan to fill in.
struct PlannedRow {
  RowKind kind = RowKind::append;
  kernels::Row row{};
  bool samples = false;      // draws a token
  bool ends_prompt = false;  // the last block
  int32_t evicted = 0;       // tokens this row drops, per KV head
  int32_t slots_during = 0;  // most slots held between layers, per KV head
};

class Sequence {
 public:
  // index: of its page table. wants_mass: the score needs the mass of decode attention. rope_table: of every
  // row.
  Sequence(const SequenceRequest& request, int32_t index, bool wants_mass, int32_t rope_table = 0);

  bool prefilling() const { return position_ < prompt_; }
  bool exhausted() const { return drawn_ == remaining_; }  // its last token is drawn by a planned row
  RowKind decode_kind() const { return wants_mass_ ? RowKind::decode_mass : RowKind::decode; }
  // Tokens of the next row: 1, or the next block's length. REQUIRES !exhausted().
  int32_t next_tokens() const;
  // The next row. REQUIRES !exhausted().
  PlannedRow advance();

 private:
  void plan_block(PlannedRow& planned) const;
  void plan_decode(PlannedRow& planned);
  void plan_victims(PlannedRow& planned);

  config::Compression compression_;
  uint64_t seed_;
  int32_t index_;
  bool wants_mass_;
  int32_t rope_table_;
  int32_t prompt_;      // tokens to prefill
  int32_t tail_begin_;  // of the original prompt
  int32_t tail_end_;
  int32_t remaining_;  // tokens to draw in all
  int32_t drawn_ = 0;
  int32_t position_ = 0;  // of the next token to process
  int32_t slots_ = 0;
  int32_t queue_size_ = 0;
  int32_t queue_next_ = 0;
};

}  // namespace batchmax::worker
