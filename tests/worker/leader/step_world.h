// Executes plans as an executor would, with nothing but bookkeeping: which position lies in which slot, which
// pages a table holds, which id is drawn (a pure function of the request's seed and the position). Every rule
// of the method and of memory that a plan could break fails the test at once. Victims are chosen at random
// among what may go.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "config/kv_reservation.h"
#include "worker/leader/sequence_request.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

inline constexpr int32_t kVocabulary = 97;
inline int32_t drawn_id(uint64_t seed, int32_t position) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ULL + static_cast<uint64_t>(position);
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ULL;
  return static_cast<int32_t>((x >> 33) % kVocabulary);
}

// What a request must answer when nobody cancels it.
inline std::vector<int32_t> expected_output(const SequenceRequest& request, bool* stopped) {
  std::vector<int32_t> ids;
  *stopped = false;
  for (int32_t index = request.emitted(); index < request.max_tokens; ++index) {
    const int32_t id = drawn_id(request.sampling.seed, request.prompt_length + index);
    const auto& stop = request.stop_ids;
    if (index >= request.min_tokens && std::find(stop.begin(), stop.end(), id) != stop.end()) {
      *stopped = true;
      break;
    }
    ids.push_back(id);
  }
  return ids;
}

// One row as a request sees it: no place in the batch, no table, no page.
struct TraceRow {
  RowKind kind;
  int32_t resident, token_count, position, queue_index, keep, victims, tail_begin, tail_end;
  bool operator==(const TraceRow&) const = default;
};

class StepWorld {
 public:
  StepWorld(int32_t capacity_pages, bool wants_mass, uint32_t seed)
      : owner_(static_cast<size_t>(capacity_pages), -1), wants_mass_(wants_mass), random_(seed) {}

  // A request that plans may speak of, by its seed, which must be unique.
  void expect(const SequenceRequest& request) { requests_[request.sampling.seed] = request; }
  void keep_traces() { traced_ = true; }
  const std::vector<TraceRow>& trace(uint64_t seed) { return traces_[seed]; }

  // Runs the plan; returns the drawn ids.
  std::vector<int32_t> run(const StepPlan& plan) {
    const auto fault = plan_fault(plan);
    EXPECT_EQ(fault, std::nullopt);
    if (fault) return {};
    for (const PageTableUpdate& update : plan.page_tables) grant(update);
    std::vector<int32_t> ids;
    size_t next_sample = 0;
    size_t next_prompt_token = 0;
    size_t index = 0;
    std::set<int32_t> seen;
    for (size_t kind = 0; kind < kRowKinds; ++kind) {
      for (int32_t i = 0; i < plan.row_counts[kind]; ++i, ++index) {
        const kernels::Row& row = plan.rows[index];
        EXPECT_TRUE(seen.insert(row.sequence).second) << "two rows of one sequence";
        run_row(static_cast<RowKind>(kind), row, plan, &next_prompt_token);
        const bool last = row.position + row.token_count >= prompt_of(row);
        if (!last) continue;
        if (next_sample >= plan.samples.size()) {
          ADD_FAILURE() << "a row that should draw does not";
          return {};
        }
        const kernels::SampleRow& sample = plan.samples[next_sample++];
        EXPECT_EQ(sample.sequence, row.sequence);
        EXPECT_EQ(sample.token, row.token_begin + row.token_count - 1);
        EXPECT_EQ(sample.position, row.position + row.token_count);
        EXPECT_EQ(sample.seed, row.seed);
        ids.push_back(drawn_id(sample.seed, sample.position));
      }
    }
    EXPECT_EQ(next_sample, plan.samples.size());
    return ids;
  }

  // Pages come back when the scheduler says so.
  void release(uint64_t seed, int32_t pages) {
    auto& held = pages_[tables_.at(seed)];
    ASSERT_LE(static_cast<size_t>(pages), held.size());
    for (int32_t i = 0; i < pages; ++i) {
      owner_[static_cast<size_t>(held.back())] = -1;
      held.pop_back();
    }
  }
  void end(uint64_t seed) {
    const auto table = tables_.find(seed);
    if (table == tables_.end()) return;  // cancelled before its first step
    for (const int32_t page : pages_[table->second]) owner_[static_cast<size_t>(page)] = -1;
    pages_.erase(table->second);
    slots_.erase(table->second);
    tables_.erase(table);
  }

  int32_t pages_held() const {
    return static_cast<int32_t>(
        std::count_if(owner_.begin(), owner_.end(), [](int32_t who) { return who >= 0; }));
  }
  // Tokens that the sequence has been given so far; 0: none.
  int32_t processed(uint64_t seed) const {
    const auto table = tables_.find(seed);
    if (table == tables_.end()) return 0;
    const auto state = slots_.find(table->second);
    return state == slots_.end() ? 0 : state->second.processed;
  }

 private:
  struct Slots {
    std::vector<int32_t> positions;  // by slot
    std::vector<int32_t> queue;
    int32_t next = 0;
    int32_t processed = 0;
  };

  int32_t prompt_of(const kernels::Row& row) {
    return static_cast<int32_t>(requests_.at(row.seed).tokens.size());
  }

  void grant(const PageTableUpdate& update) {
    EXPECT_EQ(update.first, 0);
    EXPECT_FALSE(pages_.contains(update.sequence)) << "table " << update.sequence << " is in use";
    for (const int32_t page : update.pages) {
      ASSERT_LT(static_cast<size_t>(page), owner_.size());
      ASSERT_EQ(owner_[static_cast<size_t>(page)], -1) << "page " << page << " has two holders";
      owner_[static_cast<size_t>(page)] = update.sequence;
    }
    pages_[update.sequence] = update.pages;
  }

  void run_row(RowKind kind, const kernels::Row& row, const StepPlan& plan, size_t* next_prompt_token) {
    ASSERT_TRUE(requests_.contains(row.seed));
    const SequenceRequest& request = requests_.at(row.seed);
    const config::Compression& rule = request.compression;
    const auto prompt = static_cast<int32_t>(request.tokens.size());
    if (row.position == 0) {
      tables_[row.seed] = row.sequence;
      slots_[row.sequence] = {};
    }
    ASSERT_EQ(tables_.at(row.seed), row.sequence);
    Slots& slots = slots_.at(row.sequence);
    ASSERT_EQ(row.position, slots.processed);
    ASSERT_EQ(row.resident, static_cast<int32_t>(slots.positions.size()));
    slots.processed += row.token_count;
    if (traced_) {
      traces_[row.seed].push_back({kind, row.resident, row.token_count, row.position, row.queue_index,
                                   row.keep, row.victims, row.tail_begin, row.tail_end});
    }
    EXPECT_EQ(row.sinks, rule.sinks);
    EXPECT_EQ(row.recent, rule.recent);
    const bool tail_counts = kernels::last_position(row) >= request.prompt_length - 1;
    EXPECT_EQ(row.tail_end - row.tail_begin,
              tail_counts ? std::min(rule.prompt_tail, request.prompt_length) : 0);
    EXPECT_EQ(row.tail_end, tail_counts ? request.prompt_length : 0);

    const bool decode = kind == RowKind::decode || kind == RowKind::decode_mass;
    if (decode) {
      ASSERT_GE(row.position, prompt);
      EXPECT_EQ(kind == RowKind::decode_mass, wants_mass_ && rule.mode != config::Mode::off);
      ASSERT_LT(row.position, request.prompt_length + request.max_tokens - 1) << "more tokens than asked for";
    } else {
      ASSERT_LE(row.position + row.token_count, prompt);
      EXPECT_EQ(row.position % rule.block, 0);
      EXPECT_EQ(row.token_count, std::min(rule.block, prompt - row.position)) << "a block was split";
      for (int32_t i = 0; i < row.token_count; ++i) {
        EXPECT_EQ(plan.prompt_tokens[(*next_prompt_token)++],
                  request.tokens[static_cast<size_t>(row.position + i)]);
      }
    }
    if (decode && row.queue_index >= 0) {
      ASSERT_EQ(row.queue_index, slots.next) << "the queue is used in order";
      ASSERT_LT(static_cast<size_t>(slots.next), slots.queue.size());
      int32_t& victim = slots.positions[static_cast<size_t>(slots.queue[static_cast<size_t>(slots.next++)])];
      EXPECT_FALSE(kernels::is_protected(row, victim));
      victim = row.position;
    } else {
      for (int32_t i = 0; i < row.token_count; ++i) slots.positions.push_back(row.position + i);
    }
    const auto held = static_cast<int32_t>(pages_[row.sequence].size()) * config::kPageSlots;
    EXPECT_TRUE(kind == RowKind::replace || static_cast<int32_t>(slots.positions.size()) <= held);
    EXPECT_TRUE(kind != RowKind::replace || rule.mode == config::Mode::full);
    EXPECT_TRUE(kind != RowKind::compact || rule.mode == config::Mode::decode);
    if (kind == RowKind::compact || kind == RowKind::replace) select_keep(row, slots);
    ASSERT_EQ(row.keep, static_cast<int32_t>(slots.positions.size()));
    EXPECT_LE(row.keep, held);
    if (rule.mode == config::Mode::full ||
        (rule.mode == config::Mode::decode && row.position + row.token_count >= prompt)) {
      EXPECT_LE(row.keep, rule.budget);
    }
    if (row.victims > 0) select_victims(row, rule, slots);
  }

  void select_keep(const kernels::Row& row, Slots& slots) {
    std::shuffle(slots.positions.begin(), slots.positions.end(), random_);
    auto drop = static_cast<int32_t>(slots.positions.size()) - row.keep;
    std::erase_if(slots.positions, [&](int32_t position) {
      return drop > 0 && !kernels::is_protected(row, position) && drop-- > 0;
    });
    EXPECT_EQ(drop, 0) << "the budget does not hold what is protected";
  }

  void select_victims(const kernels::Row& row, const config::Compression& rule, Slots& slots) {
    EXPECT_EQ(row.keep, rule.budget);
    EXPECT_EQ(static_cast<size_t>(slots.next), slots.queue.size()) << "a queue is replaced before its end";
    slots.queue.clear();
    slots.next = 0;
    for (int32_t slot = 0; slot < row.keep; ++slot) {
      if (!kernels::is_protected(row, slots.positions[static_cast<size_t>(slot)]))
        slots.queue.push_back(slot);
    }
    EXPECT_EQ(row.victims, std::min<int32_t>(rule.decode_block, static_cast<int32_t>(slots.queue.size())));
    std::shuffle(slots.queue.begin(), slots.queue.end(), random_);
    slots.queue.resize(static_cast<size_t>(row.victims));
  }

  std::vector<int32_t> owner_;  // table that holds a page, -1: nobody
  bool wants_mass_;
  std::mt19937 random_;
  bool traced_ = false;
  std::unordered_map<uint64_t, SequenceRequest> requests_;
  std::unordered_map<uint64_t, int32_t> tables_;
  std::unordered_map<int32_t, std::vector<int32_t>> pages_;
  std::unordered_map<int32_t, Slots> slots_;
  std::map<uint64_t, std::vector<TraceRow>> traces_;
};

}  // namespace batchmax::worker
