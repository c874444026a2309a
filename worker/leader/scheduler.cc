#include "worker/leader/scheduler.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "config/kv_reservation.h"
#include "monitoring/check.h"
#include "worker/leader/row_logits.h"

namespace batchmax::worker {

struct Scheduler::Running {
  Running(SequenceRequest made, int32_t table, const SchedulerLimits& limits)
      : request(std::move(made)),
        state(request, table, limits.wants_mass, request.positions() > limits.short_rope_positions ? 1 : 0),
        table_index(table) {}

  SequenceRequest request;
  Sequence state;  // as far as planned
  int32_t table_index;
  std::vector<int32_t> pages;
  int32_t pages_after_prompt = 0;

  int32_t flights = 0;  // planned rows without a result
  std::optional<EndReason> ended;
  std::optional<monitoring::TimePoint> first_step;

  // As far as results have come
  int32_t slots = 0;
  int32_t slots_peak = 0;
  int32_t positions = 0;
  int32_t outputs = 0;  // of this attempt
  int64_t evicted = 0;
  bool prompt_done = false;
  double prefill_seconds = 0;
};

// What one row of a planned step will have done, to be booked when its ids arrive.
struct Scheduler::FlightPart {
  int32_t table_index;
  bool samples;
  bool ends_prompt;
  bool prefill;
  int32_t tokens;
  int32_t keep;
  int32_t slots_during;
  int32_t evicted;
  LogprobSpan logprobs;
};
struct Scheduler::Flight {
  std::vector<FlightPart> parts;  // in row order
};

Scheduler::Scheduler(const SchedulerLimits& limits, const monitoring::Clock& clock)
    : limits_(limits), clock_(clock), pool_(limits.capacity_pages) {
  CHECK_GE(limits.max_num_seqs, 1);
  CHECK_GT(limits.max_num_batched_tokens, limits.max_num_seqs);
  running_.resize(static_cast<size_t>(limits.max_num_seqs));
  for (int32_t table = limits.max_num_seqs; table-- > 0;) free_tables_.push_back(table);
}

Scheduler::~Scheduler() = default;

std::optional<std::string> Scheduler::refusal(const SequenceRequest& request) const {
  if (by_request_.contains(request.request))
    return "request " + std::to_string(request.request) + " runs already";
  if (request.compression.block > limits_.max_num_batched_tokens - limits_.max_num_seqs) {
    return "prefill block " + std::to_string(request.compression.block) + " is larger than a step";
  }
  const int32_t pages = config::reservation(request.compression, static_cast<int32_t>(request.tokens.size()),
                                            request.remaining())
                            .pages;
  if (pages > limits_.max_table_pages || pages > pool_.free()) {
    return "needs " + std::to_string(pages) + " pages; " + std::to_string(pool_.free()) +
           " are free and a sequence may hold " + std::to_string(limits_.max_table_pages);
  }
  if (free_tables_.empty()) return "all " + std::to_string(limits_.max_num_seqs) + " sequences are in use";
  return std::nullopt;
}

void Scheduler::submit(SequenceRequest request) {
  CHECK_EQ(refusal(request).value_or(""), "");
  const config::Reservation reserved = config::reservation(
      request.compression, static_cast<int32_t>(request.tokens.size()), request.remaining());
  const int32_t table = free_tables_.back();
  free_tables_.pop_back();
  auto made = std::make_unique<Running>(std::move(request), table, limits_);
  made->pages = pool_.take(reserved.pages);
  made->pages_after_prompt = reserved.pages_after_prompt;
  by_request_.emplace(made->request.request, table);
  order_.push_back(table);
  running_[static_cast<size_t>(table)] = std::move(made);
}

void Scheduler::cancel(uint64_t request) {
  const auto found = by_request_.find(request);
  if (found == by_request_.end()) return;
  Running& running = *running_[static_cast<size_t>(found->second)];
  if (!running.ended) end(running, EndReason::cancelled);
}

void Scheduler::cancel_all() {
  const std::vector<int32_t> tables = order_;
  for (const int32_t table : tables) cancel(running_[static_cast<size_t>(table)]->request.request);
}

std::optional<StepPlan> Scheduler::plan() {
  StepPlan plan;
  Flight flight;
  add_rows(plan, flight);
  if (plan.rows.empty()) return std::nullopt;
  plan.step = next_step_++;
  flights_.push_back(std::move(flight));
  return plan;
}

void Scheduler::add_rows(StepPlan& plan, Flight& flight) {
  // Who takes part: every decode row, then blocks while they fit. A block that does not fit keeps its place
  // in the order; a younger one that does may fill the rest of the step, which delays nobody.
  int32_t room = limits_.max_num_batched_tokens;
  std::array<std::vector<Running*>, 2> decodes;  // with mass, without
  std::vector<Running*> prefills;
  for (const int32_t table : order_) {
    Running& running = *running_[static_cast<size_t>(table)];
    if (running.ended || running.state.exhausted()) continue;
    if (running.state.prefilling()) {
      prefills.push_back(&running);
    } else {
      decodes[running.state.decode_kind() == RowKind::decode_mass ? 0 : 1].push_back(&running);
      --room;
    }
  }
  std::array<std::vector<std::pair<Running*, PlannedRow>>, kRowKinds> by_kind;
  for (const auto& span : decodes) {
    for (Running* running : span) {
      const PlannedRow planned = running->state.advance();
      by_kind[static_cast<size_t>(planned.kind)].emplace_back(running, planned);
    }
  }
  for (Running* running : prefills) {
    if (running->state.next_tokens() > room) continue;
    const PlannedRow planned = running->state.advance();
    room -= planned.row.token_count;
    by_kind[static_cast<size_t>(planned.kind)].emplace_back(running, planned);
  }
  CHECK_GE(room, 0);

  const monitoring::TimePoint now = clock_.now();
  int32_t next_token = 0;
  for (size_t kind = 0; kind < kRowKinds; ++kind) {
    plan.row_counts[kind] = static_cast<int32_t>(by_kind[kind].size());
    for (auto& [running, planned] : by_kind[kind]) {
      kernels::Row& row = planned.row;
      const SequenceRequest& request = running->request;
      row.token_begin = next_token;
      next_token += row.token_count;
      const bool prefill =
          kind != static_cast<size_t>(RowKind::decode_mass) && kind != static_cast<size_t>(RowKind::decode);
      if (prefill) {
        const auto begin = request.tokens.begin() + row.position;
        plan.prompt_tokens.insert(plan.prompt_tokens.end(), begin, begin + row.token_count);
      }
      if (planned.samples) plan.samples.push_back(sample_of(request, row));
      if (row.victims > 0) plan.victim_rows.push_back(static_cast<int32_t>(plan.rows.size()));
      plan.rows.push_back(row);
      const LogprobSpan logprobs = plan_logits(request, planned, plan);
      flight.parts.push_back({row.sequence, planned.samples, planned.ends_prompt, prefill, row.token_count,
                              row.keep, planned.slots_during, planned.evicted, logprobs});
      ++running->flights;
      if (!running->first_step) {
        running->first_step = now;
        plan.page_tables.push_back({row.sequence, 0, running->pages});
        if (auto entries = logit_entries(request); !entries.empty())
          plan.logit_entries.push_back({row.sequence, std::move(entries)});
      }
    }
  }
  complete_adjustments(plan);
}

void Scheduler::complete(std::span<const int32_t> ids, std::span<const kernels::TokenLogprob> logprobs) {
  CHECK(!flights_.empty());
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  ++totals_.steps_total;

  int64_t during = totals_.slots_held;
  for (const FlightPart& part : flight.parts) {
    during += part.slots_during - running_[static_cast<size_t>(part.table_index)]->slots;
  }
  totals_.slots_peak = std::max(totals_.slots_peak, during);

  size_t next_id = 0;
  size_t next_logprob = 0;
  for (const FlightPart& part : flight.parts) {
    Running& running = *running_[static_cast<size_t>(part.table_index)];
    --running.flights;
    CHECK_GE(ids.size(), next_id + (part.samples ? 1 : 0));
    const int32_t id = part.samples ? ids[next_id++] : 0;
    const auto of_prompt = static_cast<size_t>(part.logprobs.prompt);
    CHECK_GE(logprobs.size(), next_logprob + of_prompt + (part.logprobs.drawn ? 1 : 0));
    const auto own = logprobs.subspan(next_logprob);
    next_logprob += of_prompt + (part.logprobs.drawn ? 1 : 0);
    if (running.ended) {
      if (running.flights == 0) release(running);
      continue;
    }
    book(running, part, own.first(of_prompt));
    if (!part.samples) continue;
    draw(running, id, part.logprobs.drawn ? std::optional(own[of_prompt]) : std::nullopt);
  }
  CHECK_EQ(ids.size(), next_id);
  CHECK_EQ(logprobs.size(), next_logprob);
}

// What the row did to the sequence's slots and pages, and what it says of the prompt.
void Scheduler::book(Running& running, const FlightPart& part,
                     std::span<const kernels::TokenLogprob> prompt_logprobs) {
  const SequenceRequest& request = running.request;
  totals_.slots_held += part.keep - running.slots;
  totals_.slots_full_attention += part.tokens;
  running.slots = part.keep;
  running.slots_peak = std::max(running.slots_peak, part.slots_during);
  running.positions += part.tokens;
  running.evicted += part.evicted;
  if (part.prefill) {
    totals_.prompt_tokens_total += part.tokens;
    totals_.evicted_prefill_total += part.evicted;
  } else {
    totals_.evicted_decode_total += part.evicted;
  }
  if (!prompt_logprobs.empty()) {
    events_.emplace_back(PromptScored{request.request,
                                      request.attempt,
                                      part.logprobs.position,
                                      {prompt_logprobs.begin(), prompt_logprobs.end()}});
  }
  if (!part.ends_prompt) return;
  running.prompt_done = true;
  running.prefill_seconds = std::chrono::duration<double>(clock_.now() - *running.first_step).count();
  // Steps planned since then touch only the pages that stay: compaction moved the survivors there.
  if (const auto kept = static_cast<size_t>(running.pages_after_prompt); running.pages.size() > kept) {
    const auto released = std::span(running.pages).subspan(kept);
    pool_.give_back(released);
    events_.emplace_back(
        PagesReleased{request.request, request.attempt, static_cast<int32_t>(released.size())});
    running.pages.resize(kept);
  }
}

void Scheduler::draw(Running& running, int32_t id, std::optional<kernels::TokenLogprob> logprob) {
  const SequenceRequest& request = running.request;
  const int32_t index = request.emitted() + running.outputs++;
  ++totals_.generation_tokens_total;
  if (index >= request.min_tokens &&
      std::find(request.stop_ids.begin(), request.stop_ids.end(), id) != request.stop_ids.end()) {
    return end(running, EndReason::stop);
  }
  events_.emplace_back(
      TokenMade{request.request, request.attempt, static_cast<uint32_t>(index), id, std::move(logprob)});
  if (running.outputs == request.remaining()) end(running, EndReason::length);
}

// No row of it will be planned any more.
void Scheduler::end(Running& running, EndReason reason) {
  running.ended = reason;
  if (running.flights == 0) release(running);
}

void Scheduler::release(Running& running) {
  const int32_t table = running.table_index;
  SequenceEnded ended;
  ended.request = running.request.request;
  ended.attempt = running.request.attempt;
  ended.reason = *running.ended;
  ended.output_tokens = running.request.emitted() + running.outputs;
  ended.slots_held = running.slots;
  ended.slots_peak = running.slots_peak;
  ended.tokens_evicted = running.evicted;
  ended.prefill_seconds = running.prefill_seconds;
  events_.emplace_back(std::move(ended));

  totals_.slots_held -= running.slots;
  totals_.slots_full_attention -= running.positions;
  pool_.give_back(running.pages);
  by_request_.erase(running.request.request);
  order_.erase(std::find(order_.begin(), order_.end(), table));
  free_tables_.push_back(table);
  running_[static_cast<size_t>(table)].reset();
}

std::vector<OutboxEvent> Scheduler::take_events() { return std::exchange(events_, {}); }

SchedulerFigures Scheduler::figures() const {
  SchedulerFigures figures = totals_;
  figures.pages_free = pool_.free();
  figures.pages_reserved = pool_.capacity() - pool_.free();
  figures.sequences_running = static_cast<int32_t>(order_.size());
  for (const int32_t table : order_) {
    if (!running_[static_cast<size_t>(table)]->prompt_done) ++figures.sequences_prefill;
  }
  return figures;
}

}  // namespace batchmax::worker
