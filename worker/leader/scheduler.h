// Decides what a group computes next: a pure state machine over values. Events go in (submit, cancel), plans
// come out, sampled ids go in, events come out. No I/O, no thread, no clock but the injected one. Owned by
// the leader loop, step thread.
//
// A step holds one row of every sequence that decodes, then prefill blocks, the oldest sequence first, up to
// the token budget. The budget holds all decode rows and the largest block, so the oldest prefill always
// moves: nothing starves. Pages are granted whole at admission; nothing is ever preempted.
//
// Plans may be made ahead of results: finished sequences are noticed when their ids arrive, a token drawn for
// them in the meantime is dropped, and their pages are free once no planned step speaks of them.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "monitoring/clock.h"
#include "worker/kv/page_pool.h"
#include "worker/leader/events.h"
#include "worker/leader/sequence.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

struct SchedulerLimits {
  int32_t capacity_pages = 0;
  int32_t max_table_pages = 0;         // entries of one page table
  int32_t max_num_seqs = 0;            // page tables
  int32_t max_num_batched_tokens = 0;  // >= max_num_seqs + the largest block
  bool wants_mass = false;             // the score needs mass
  // A sequence that may come to more positions is rotated with the long factors from its first token on.
  int32_t short_rope_positions = std::numeric_limits<int32_t>::max();
};

// The group's state now and counts since its start. Slots per KV head.
struct SchedulerFigures {
  int32_t pages_free = 0;
  int32_t pages_reserved = 0;
  int32_t sequences_running = 0;
  int32_t sequences_prefill = 0;
  int64_t slots_held = 0;
  int64_t slots_peak = 0;            // most at once, within steps too
  int64_t slots_full_attention = 0;  // what the running sequences would hold without eviction
  int64_t prompt_tokens_total = 0;
  int64_t generation_tokens_total = 0;
  int64_t evicted_prefill_total = 0;
  int64_t evicted_decode_total = 0;
  int64_t steps_total = 0;
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, const monitoring::Clock& clock);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Why this request cannot run now; empty: it can. The coordinator's ledger keeps requests back that do not
  // fit, so a reason is an error of the coordinator, to be answered, not waited for.
  std::optional<std::string> refusal(const SequenceRequest& request) const;
  void submit(SequenceRequest request);  // REQUIRES no refusal
  void cancel(uint64_t request);         // unknown: has ended already
  void cancel_all();

  // The next step; empty: nothing to do before the next event or result. Numbered 1, 2, ...
  std::optional<StepPlan> plan();
  // Of the oldest plan without a result: one id per plan.samples, one log probability per plan.logprobs.
  void complete(std::span<const int32_t> ids, std::span<const kernels::TokenLogprob> logprobs = {});
  std::vector<OutboxEvent> take_events();

  bool idle() const { return order_.empty(); }  // no sequence at all, hence no step without a result
  SchedulerFigures figures() const;

 private:
  struct Running;
  struct Flight;
  struct FlightPart;
  void end(Running& running, EndReason reason);
  void release(Running& running);
  void add_rows(StepPlan& plan, Flight& flight);
  void book(Running& running, const FlightPart& part, std::span<const kernels::TokenLogprob> prompt_logprobs);
  void draw(Running& running, int32_t id, std::optional<kernels::TokenLogprob> logprob);

  const SchedulerLimits limits_;
  const monitoring::Clock& clock_;
  PagePool pool_;
  std::vector<std::unique_ptr<Running>> running_;  // by page table
  std::vector<int32_t> free_tables_;
  std::vector<int32_t> order_;  // page tables in use, oldest sequence first
  std::unordered_map<uint64_t, int32_t> by_request_;
  std::deque<Flight> flights_;
  std::vector<OutboxEvent> events_;
  uint64_t next_step_ = 1;
  SchedulerFigures totals_;  // the counts and slots_*; the rest is computed when asked
};

}  // namespace batchmax::worker
