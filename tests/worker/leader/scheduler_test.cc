#include "worker/leader/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "tests/worker/leader/step_world.h"

namespace batchmax::worker {
namespace {

constexpr int32_t kBatchedTokens = 80;
constexpr int32_t kSequences = 12;

SequenceRequest random_request(std::mt19937& random, uint64_t id) {
  const auto pick = [&](int32_t least, int32_t most) {
    return least + static_cast<int32_t>(random() % static_cast<uint32_t>(most - least + 1));
  };
  SequenceRequest request;
  request.request = id;
  request.attempt = static_cast<uint32_t>(pick(1, 3));
  request.prompt_length = pick(0, 3) == 0 ? pick(1, 400) : pick(1, 60);
  request.max_tokens = pick(1, 80);
  const int32_t emitted = pick(0, 3) == 0 ? pick(0, request.max_tokens - 1) : 0;  // a replay
  for (int32_t i = 0; i < request.prompt_length + emitted; ++i)
    request.tokens.push_back(pick(0, kVocabulary - 1));
  config::CompressionSettings server;
  server.block = 32;
  server.budget = 128;
  server.decode_block = pick(1, 9);
  server.sinks = pick(0, 4);
  const auto mode = static_cast<config::Mode>(pick(0, 2));
  request.compression = std::get<config::Compression>(config::resolve(server, pick(9, 150), mode));
  if (pick(0, 1) == 0) request.stop_ids = {1, pick(2, 30)};
  if (pick(0, 3) == 0) request.min_tokens = pick(1, 20);
  request.sampling.seed = id * 1000003;
  request.sampling.choice = pick(0, 3);
  return request;
}

// The coordinator's part: its ledger of pages, what it was told, what it expects.
class Crowd {
 public:
  Crowd(int32_t capacity, int lookahead, uint32_t seed, bool wants_mass)
      : lookahead_(lookahead),
        limits_{capacity, 1000, kSequences, kBatchedTokens, wants_mass},
        scheduler_(limits_, clock_),
        world_(capacity, wants_mass, seed),
        free_pages_(capacity) {}

  struct Open {
    SequenceRequest request;
    int32_t pages = 0;
    std::vector<int32_t> ids;
    bool cancelled = false;
    bool submitted = false;
  };

  StepWorld& world() { return world_; }
  Scheduler& scheduler() { return scheduler_; }
  size_t open() const { return open_.size(); }
  size_t ended() const { return ended_; }
  uint64_t steps() const { return steps_; }
  const std::map<uint64_t, Open>& requests() const { return open_; }

  void queue(SequenceRequest request) { waiting_.push_back(std::move(request)); }

  // As a coordinator does: in order, when pages and a sequence are free.
  void submit_what_fits() {
    while (!waiting_.empty() && open_.size() < kSequences) {
      SequenceRequest& next = waiting_.front();
      const int32_t pages =
          config::reservation(next.compression, static_cast<int32_t>(next.tokens.size()), next.remaining())
              .pages;
      if (pages > free_pages_) return;
      free_pages_ -= pages;
      ASSERT_EQ(scheduler_.refusal(next), std::nullopt);
      world_.expect(next);
      open_[next.request] = {next, pages, {}, false, true};
      ages_.push_back(next.request);
      scheduler_.submit(std::move(next));
      waiting_.pop_front();
    }
  }

  void cancel(uint64_t request) {
    scheduler_.cancel(request);
    if (const auto found = open_.find(request); found != open_.end()) found->second.cancelled = true;
    take_events();
  }

  // One turn of the leader loop. False: nothing to do.
  bool turn() {
    submit_what_fits();
    bool planned = false;
    while (results_.size() <= static_cast<size_t>(lookahead_)) {
      const std::vector<uint64_t> waiting = prefilling();
      std::map<uint64_t, int32_t> before;
      for (const uint64_t id : waiting) before[id] = world_.processed(open_.at(id).request.sampling.seed);
      auto plan = scheduler_.plan();
      if (!plan) break;
      planned = true;
      ++steps_;
      EXPECT_LE(plan->tokens(), kBatchedTokens);
      EXPECT_EQ(plan->step, steps_);
      results_.push_back(world_.run(*plan));
      expect_oldest_first(*plan, waiting, before);
    }
    if (results_.empty()) return planned;
    clock_.advance(std::chrono::milliseconds(10));
    scheduler_.complete(results_.front());
    results_.pop_front();
    take_events();
    const SchedulerFigures figures = scheduler_.figures();
    EXPECT_EQ(figures.pages_reserved + figures.pages_free, limits_.capacity_pages);
    EXPECT_GE(figures.pages_free, free_pages_);
    EXPECT_EQ(figures.pages_free, free_pages_) << "the coordinator's ledger and the leader's differ";
    EXPECT_LE(figures.slots_held, int64_t{figures.pages_reserved} * config::kPageSlots);
    EXPECT_LE(figures.slots_held, figures.slots_peak);
    EXPECT_GE(figures.slots_full_attention, figures.slots_held);
    return true;
  }

 private:
  std::vector<uint64_t> prefilling() const {
    std::vector<uint64_t> ids;
    for (const uint64_t id : ages_) {
      const Open& one = open_.at(id);
      if (!one.cancelled &&
          world_.processed(one.request.sampling.seed) < static_cast<int32_t>(one.request.tokens.size())) {
        ids.push_back(id);
      }
    }
    return ids;
  }

  void expect_oldest_first(const StepPlan& plan, const std::vector<uint64_t>& waiting,
                           const std::map<uint64_t, int32_t>& before) {
    int32_t room = kBatchedTokens - plan.decode_rows();
    for (const uint64_t id : waiting) {
      const SequenceRequest& request = open_.at(id).request;
      const int32_t done = before.at(id);
      const int32_t block =
          std::min(request.compression.block, static_cast<int32_t>(request.tokens.size()) - done);
      const bool moved = world_.processed(request.sampling.seed) > done;
      EXPECT_EQ(moved, block <= room) << "request " << id;
      if (moved) room -= block;
    }
  }

  void take_events() {
    for (const OutboxEvent& event : scheduler_.take_events()) {
      if (const auto* made = std::get_if<TokenMade>(&event)) {
        ASSERT_TRUE(open_.contains(made->request));
        Open& one = open_.at(made->request);
        EXPECT_FALSE(one.cancelled);
        EXPECT_EQ(made->attempt, one.request.attempt);
        EXPECT_EQ(static_cast<size_t>(made->index),
                  one.ids.size() + static_cast<size_t>(one.request.emitted()));
        one.ids.push_back(made->id);
      } else if (const auto* released = std::get_if<PagesReleased>(&event)) {
        Open& one = open_.at(released->request);
        EXPECT_EQ(one.request.compression.mode, config::Mode::decode);
        one.pages -= released->pages;
        free_pages_ += released->pages;
        world_.release(one.request.sampling.seed, released->pages);
      } else {
        finish(std::get<SequenceEnded>(event));
      }
    }
  }

  void finish(const SequenceEnded& end) {
    ASSERT_TRUE(open_.contains(end.request)) << "ended twice";
    const Open& one = open_.at(end.request);
    const SequenceRequest& request = one.request;
    bool stopped = false;
    const std::vector<int32_t> expected = expected_output(request, &stopped);
    if (end.reason == EndReason::cancelled) {
      EXPECT_TRUE(one.cancelled);
      ASSERT_LE(one.ids.size(), expected.size());
      EXPECT_TRUE(std::equal(one.ids.begin(), one.ids.end(), expected.begin()));
    } else {
      EXPECT_EQ(one.ids, expected);
      EXPECT_EQ(end.reason, stopped ? EndReason::stop : EndReason::length);
      const auto outputs = static_cast<int32_t>(expected.size()) + request.emitted() + (stopped ? 1 : 0);
      EXPECT_EQ(end.output_tokens, outputs);
      // All but the last drawn token were processed; each is held or was evicted.
      EXPECT_EQ(end.slots_held + end.tokens_evicted, request.prompt_length + outputs - 1);
      EXPECT_GT(end.prefill_seconds, 0);
    }
    EXPECT_LE(end.slots_held, end.slots_peak);
    free_pages_ += one.pages;
    world_.end(request.sampling.seed);
    ages_.erase(std::find(ages_.begin(), ages_.end(), end.request));
    open_.erase(end.request);
    ++ended_;
  }

  int lookahead_;
  monitoring::ManualClock clock_;
  SchedulerLimits limits_;
  Scheduler scheduler_;
  StepWorld world_;
  int32_t free_pages_;
  std::deque<SequenceRequest> waiting_;
  std::map<uint64_t, Open> open_;
  std::vector<uint64_t> ages_;
  std::deque<std::vector<int32_t>> results_;
  uint64_t steps_ = 0;
  size_t ended_ = 0;
};

// A million steps of random requests, cancellations and refills; everybody finishes, once, with the right
// tokens.
class SchedulerCrowd : public testing::TestWithParam<int> {};

TEST_P(SchedulerCrowd, EveryoneFinishesAndNothingIsBroken) {
  constexpr uint64_t kStepsPerSeed = 50000;
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    std::mt19937 random(seed);
    Crowd crowd(10 + static_cast<int32_t>(seed) * 5, GetParam(), seed, seed % 2 == 0);
    uint64_t next_id = 1;
    while (crowd.steps() < kStepsPerSeed) {
      // Load comes in waves, so that full and empty groups are both seen.
      const bool busy = crowd.steps() / 200 % 3 != 0;
      if (busy && random() % 4 == 0 && next_id - crowd.ended() < 40)
        crowd.queue(random_request(random, next_id++));
      if (random() % 64 == 0 && crowd.open() > 0) {
        auto victim = crowd.requests().begin();
        std::advance(victim, static_cast<std::ptrdiff_t>(random() % crowd.open()));
        crowd.cancel(victim->first);
      }
      if (!crowd.turn()) crowd.queue(random_request(random, next_id++));
      if (HasFailure()) FAIL() << "seed " << seed << " step " << crowd.steps();
    }
    while (crowd.turn()) {
    }
    EXPECT_TRUE(crowd.scheduler().idle());
    EXPECT_EQ(crowd.ended(), next_id - 1);
    EXPECT_EQ(crowd.world().pages_held(), 0);
    const SchedulerFigures figures = crowd.scheduler().figures();
    EXPECT_EQ(figures.slots_held, 0);
    EXPECT_EQ(figures.slots_full_attention, 0);
    EXPECT_GT(figures.evicted_prefill_total, 0);
    EXPECT_GT(figures.evicted_decode_total, 0);
    EXPECT_EQ(static_cast<uint64_t>(figures.steps_total), crowd.steps());
  }
}

// Block cuts, keep sets and victims of a request do not depend on what else runs.
TEST_P(SchedulerCrowd, RowsOfARequestAreTheSameAloneAndInACrowd) {
  std::mt19937 random(7);
  Crowd crowd(60, GetParam(), 7, true);
  crowd.world().keep_traces();
  std::vector<SequenceRequest> requests;
  for (uint64_t id = 1; id <= 150; ++id) {
    requests.push_back(random_request(random, id));
    crowd.queue(requests.back());
  }
  while (crowd.turn()) {
  }
  ASSERT_EQ(crowd.ended(), requests.size());
  for (const SequenceRequest& request : requests) {
    Crowd alone(60, GetParam(), 1, true);
    alone.world().keep_traces();
    alone.queue(request);
    while (alone.turn()) {
    }
    EXPECT_EQ(alone.world().trace(request.sampling.seed), crowd.world().trace(request.sampling.seed));
  }
}

INSTANTIATE_TEST_SUITE_P(Lookahead, SchedulerCrowd, testing::Values(0, 1));

SequenceRequest simple_request(uint64_t id, int32_t prompt, int32_t max_tokens, config::Mode mode) {
  SequenceRequest request;
  request.request = id;
  request.prompt_length = prompt;
  request.max_tokens = max_tokens;
  request.tokens.assign(static_cast<size_t>(prompt), 3);
  request.compression = {mode, 64, 32, 4, 16, 8, 4};
  request.sampling.seed = id;
  return request;
}

SchedulerLimits small_limits(int32_t pages) { return {pages, 8, 4, 64, false}; }

TEST(Scheduler, RefusesWhatCannotRunNow) {
  const monitoring::ManualClock clock;
  Scheduler scheduler(small_limits(5), clock);
  scheduler.submit(simple_request(1, 10, 10, config::Mode::full));
  EXPECT_NE(scheduler.refusal(simple_request(1, 10, 10, config::Mode::full)), std::nullopt) << "the same id";
  EXPECT_NE(scheduler.refusal(simple_request(2, 300, 10, config::Mode::off)), std::nullopt)
      << "5 pages, 4 free";
  EXPECT_EQ(scheduler.refusal(simple_request(2, 3000, 10, config::Mode::full)), std::nullopt);
  SequenceRequest large_block = simple_request(3, 10, 10, config::Mode::full);
  large_block.compression.block = 61;
  EXPECT_NE(scheduler.refusal(large_block), std::nullopt);
  for (uint64_t id = 2; id <= 4; ++id) scheduler.submit(simple_request(id, 10, 10, config::Mode::full));
  EXPECT_NE(scheduler.refusal(simple_request(9, 10, 10, config::Mode::full)), std::nullopt)
      << "all tables in use";
}

// Once per request, by all the positions it may come to: a replay is rotated as the first attempt was.
TEST(Scheduler, RopeTableIsChosenByThePositionsARequestMayComeTo) {
  const monitoring::ManualClock clock;
  SchedulerLimits limits = small_limits(8);
  limits.short_rope_positions = 50;
  const auto tables = [&](const SequenceRequest& request) {
    Scheduler scheduler(limits, clock);
    scheduler.submit(request);
    std::set<int32_t> seen;
    while (const auto plan = scheduler.plan()) {
      for (const kernels::Row& row : plan->rows) seen.insert(row.rope_table);
      scheduler.complete(std::vector<int32_t>(plan->samples.size(), 3));
    }
    return seen;
  };
  EXPECT_EQ(tables(simple_request(1, 40, 11, config::Mode::off)), (std::set<int32_t>{0}));
  EXPECT_EQ(tables(simple_request(1, 40, 12, config::Mode::off)), (std::set<int32_t>{1}));
  SequenceRequest replay = simple_request(1, 40, 11, config::Mode::off);
  replay.tokens.resize(48, 3);
  EXPECT_EQ(tables(replay), (std::set<int32_t>{0}));
  replay.max_tokens = 12;
  EXPECT_EQ(tables(replay), (std::set<int32_t>{1}));
}

TEST(Scheduler, CancelBeforeTheFirstStepLeavesNoTrace) {
  const monitoring::ManualClock clock;
  Scheduler scheduler(small_limits(5), clock);
  scheduler.submit(simple_request(1, 10, 10, config::Mode::full));
  scheduler.cancel(1);
  scheduler.cancel(1);
  scheduler.cancel(77);
  EXPECT_TRUE(scheduler.idle());
  const auto events = scheduler.take_events();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::get<SequenceEnded>(events[0]).reason, EndReason::cancelled);
  EXPECT_EQ(scheduler.plan(), std::nullopt);
  EXPECT_EQ(scheduler.figures().pages_free, 5);
}

// Mode decode: the whole prompt is held, then cut down, and the pages past the budget come back with the
// result.
TEST(Scheduler, DecodeModeGivesPagesBackAfterThePrompt) {
  const monitoring::ManualClock clock;
  Scheduler scheduler(small_limits(8), clock);
  scheduler.submit(simple_request(1, 200, 20, config::Mode::decode));
  EXPECT_EQ(scheduler.figures().pages_free, 4);
  for (int block = 0; block < 6; ++block) {
    const auto plan = scheduler.plan();
    EXPECT_EQ(plan->count_of(RowKind::append), 1);
    EXPECT_TRUE(plan->samples.empty());
    scheduler.complete({});
    EXPECT_EQ(scheduler.figures().pages_free, 4);
  }
  EXPECT_EQ(scheduler.figures().slots_held, 192);
  const auto plan = scheduler.plan();
  EXPECT_EQ(plan->count_of(RowKind::compact), 1);
  EXPECT_EQ(plan->rows[0].keep, 64);
  EXPECT_EQ(plan->rows[0].victims, 4);
  EXPECT_EQ(plan->rows[0].tail_begin, 192);
  scheduler.complete(std::vector<int32_t>{5});
  const SchedulerFigures figures = scheduler.figures();
  EXPECT_EQ(figures.pages_free, 7);
  EXPECT_EQ(figures.slots_held, 64);
  EXPECT_EQ(figures.slots_peak, 200);
  EXPECT_EQ(figures.slots_full_attention, 200);
  EXPECT_EQ(figures.evicted_prefill_total, 136);
  const auto events = scheduler.take_events();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(std::get<PagesReleased>(events[0]).pages, 3);
  EXPECT_EQ(std::get<TokenMade>(events[1]).id, 5);
}

// With a step ahead, the token drawn after a stop id is dropped and pages come back once no step speaks of
// them.
TEST(Scheduler, AStepAheadNeverLeaksATokenOrFreesAPageInUse) {
  const monitoring::ManualClock clock;
  Scheduler scheduler(small_limits(8), clock);
  SequenceRequest request = simple_request(1, 5, 20, config::Mode::full);
  request.stop_ids = {9};
  scheduler.submit(request);
  ASSERT_TRUE(scheduler.plan());  // prompt
  ASSERT_TRUE(scheduler.plan());  // first decode, before the prompt's id is known
  scheduler.complete(std::vector<int32_t>{9});
  EXPECT_TRUE(scheduler.take_events().empty());
  EXPECT_EQ(scheduler.figures().pages_free, 7);
  EXPECT_EQ(scheduler.plan(), std::nullopt);
  scheduler.complete(std::vector<int32_t>{4});
  const auto events = scheduler.take_events();
  ASSERT_EQ(events.size(), 1U);
  const auto& end = std::get<SequenceEnded>(events[0]);
  EXPECT_EQ(end.reason, EndReason::stop);
  EXPECT_EQ(end.output_tokens, 1);
  EXPECT_EQ(end.slots_held, 5);
  EXPECT_EQ(scheduler.figures().pages_free, 8);
}

TEST(Sequence, CountsProtectedPositions) {
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    kernels::Row row{};
    row.position = static_cast<int32_t>(random() % 60);
    row.token_count = 1 + static_cast<int32_t>(random() % 20);
    row.sinks = static_cast<int32_t>(random() % 12);
    row.recent = 1 + static_cast<int32_t>(random() % 30);
    row.tail_end = static_cast<int32_t>(random() % static_cast<uint32_t>(row.position + row.token_count + 1));
    row.tail_begin = std::max(0, row.tail_end - static_cast<int32_t>(random() % 20));
    int32_t counted = 0;
    for (int32_t p = 0; p <= kernels::last_position(row); ++p)
      counted += kernels::is_protected(row, p) ? 1 : 0;
    ASSERT_EQ(protected_positions(row), counted);
  }
}

}  // namespace
}  // namespace batchmax::worker
