// The leader loop and its followers, one thread per rank, with a fake executor.
#include "worker/leader/leader_loop.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <thread>

#include "comm/group/control_group.h"
#include "config/kv_reservation.h"
#include "tests/worker/leader/fake_executor.h"

namespace batchmax::worker {
namespace {

using namespace std::chrono_literals;

SequenceRequest request_of(uint64_t id, int32_t prompt, int32_t max_tokens) {
  SequenceRequest request;
  request.request = id;
  request.attempt = 1;
  request.prompt_length = prompt;
  request.max_tokens = max_tokens;
  request.tokens.assign(static_cast<size_t>(prompt), 3);
  request.compression = {config::Mode::full, 64, 16, 4, 16, 8, 4};
  request.sampling.seed = id + 1000;
  return request;
}

class Replica {
 public:
  explicit Replica(int ranks, int lookahead = 0, std::chrono::microseconds step_time = 0us) {
    FakeExecutor::Options options;
    options.lookahead = lookahead;
    options.step_time = step_time;
    options.facts.capacity_pages = 16;
    const SchedulerLimits limits{16, 8, 8, 8 + 2 * 16, false};
    groups_ = comm::make_thread_control_groups(ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      executors_.push_back(std::make_unique<FakeExecutor>(options));
      progress_.push_back(std::make_unique<monitoring::Progress>(clock_));
    }
    loop_ = std::make_unique<LeaderLoop>(limits, *groups_[0], *executors_[0], inbox_, outbox_, board_,
                                         *progress_[0], clock_, monitoring::Log::silent());
    threads_.emplace_back([this] { loop_->run(); });
    for (size_t rank = 1; rank < groups_.size(); ++rank) {
      threads_.emplace_back(
          [this, rank] { run_follower(*groups_[rank], *executors_[rank], *progress_[rank]); });
    }
  }
  ~Replica() {
    if (!joined_) {
      inbox_.push(Stop{true});
      join();
    }
  }

  void join() {
    for (std::thread& thread : threads_) thread.join();
    joined_ = true;
  }
  // The next answer; fails the test after a minute.
  OutboxEvent next() {
    while (events_.empty()) {
      events_ = outbox_.wait(60s);
      if (events_.empty()) throw std::runtime_error("no answer from the leader");
    }
    OutboxEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  void submit(SequenceRequest request) { inbox_.push(std::move(request)); }
  Inbox& inbox() { return inbox_; }
  GroupReport report() const { return board_.read(); }
  const FakeExecutor& executor(size_t rank) const { return *executors_[rank]; }
  size_t ranks() const { return executors_.size(); }

 private:
  const monitoring::SteadyClock clock_;
  std::vector<std::unique_ptr<comm::ControlGroup>> groups_;
  std::vector<std::unique_ptr<FakeExecutor>> executors_;
  std::vector<std::unique_ptr<monitoring::Progress>> progress_;
  Inbox inbox_{64};
  Outbox outbox_{1024};
  GroupReportBoard board_;
  std::unique_ptr<LeaderLoop> loop_;
  std::vector<std::thread> threads_;
  std::deque<OutboxEvent> events_;
  bool joined_ = false;
};

class LeaderLoopTest : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(LeaderLoopTest, AnswersEveryoneAndAllRanksSeeTheSamePlans) {
  const auto [ranks, lookahead] = GetParam();
  Replica replica(ranks, lookahead);
  std::map<uint64_t, SequenceRequest> requests;
  for (uint64_t id = 1; id <= 8; ++id) {
    requests[id] = request_of(id, static_cast<int32_t>(20 * id), static_cast<int32_t>(10 + id));
    replica.submit(requests[id]);
  }
  std::map<uint64_t, std::vector<int32_t>> ids;
  for (size_t ended = 0; ended < requests.size();) {
    const OutboxEvent event = replica.next();
    if (const auto* made = std::get_if<TokenMade>(&event)) {
      EXPECT_EQ(made->index, ids[made->request].size());
      ids[made->request].push_back(made->id);
    } else {
      const auto& end = std::get<SequenceEnded>(event);
      bool stopped = false;
      EXPECT_EQ(ids[end.request], expected_output(requests[end.request], &stopped));
      EXPECT_EQ(end.reason, EndReason::length);
      EXPECT_LE(end.slots_held, 64);
      ++ended;
    }
  }
  replica.inbox().push(Stop{});
  EXPECT_TRUE(std::holds_alternative<Stopped>(replica.next()));
  replica.join();
  EXPECT_FALSE(replica.executor(0).seen().empty());
  for (size_t rank = 0; rank < replica.ranks(); ++rank) {
    EXPECT_EQ(replica.executor(rank).seen(), replica.executor(0).seen());
    EXPECT_TRUE(replica.executor(rank).all_collected());
  }
  const GroupReport report = replica.report();
  EXPECT_EQ(report.figures.pages_free, 16);
  EXPECT_EQ(report.figures.slots_held, 0);
  EXPECT_EQ(static_cast<size_t>(report.figures.steps_total), replica.executor(0).seen().size());
  EXPECT_EQ(report.times.prefill.count + report.times.decode.count + report.times.mixed.count,
            replica.executor(0).seen().size());
}

INSTANTIATE_TEST_SUITE_P(Shapes, LeaderLoopTest,
                         testing::Combine(testing::Values(1, 2, 3), testing::Values(0, 1)));

TEST(LeaderLoop, RoundTripsAreAnsweredIdleAndBusy) {
  Replica replica(2, 0, 100us);
  replica.inbox().push(RoundTrip{5});
  EXPECT_EQ(std::get<RoundTripDone>(replica.next()).id, 5U);
  replica.submit(request_of(1, 10, 1000));
  EXPECT_TRUE(std::holds_alternative<TokenMade>(replica.next()));
  replica.inbox().push(RoundTrip{6});
  for (;;) {
    const OutboxEvent event = replica.next();
    ASSERT_FALSE(std::holds_alternative<SequenceEnded>(event)) << "the round trip waited for the request";
    if (std::holds_alternative<RoundTripDone>(event)) break;
  }
}

TEST(LeaderLoop, CancelEndsARunningRequest) {
  Replica replica(2, 1, 100us);
  replica.submit(request_of(1, 10, 1000000));
  EXPECT_TRUE(std::holds_alternative<TokenMade>(replica.next()));
  replica.inbox().push(CancelSequence{1});
  for (;;) {
    const OutboxEvent event = replica.next();
    if (const auto* end = std::get_if<SequenceEnded>(&event)) {
      EXPECT_EQ(end->reason, EndReason::cancelled);
      break;
    }
  }
  replica.inbox().push(Stop{});
  EXPECT_TRUE(std::holds_alternative<Stopped>(replica.next()));
  EXPECT_EQ(replica.report().figures.pages_free, 16);
}

TEST(LeaderLoop, WhatDoesNotFitIsAnsweredWithAnErrorAndHarmsNobody) {
  Replica replica(1);
  SequenceRequest large = request_of(1, 2000, 10);
  large.compression.mode = config::Mode::off;
  replica.submit(large);
  const auto end = std::get<SequenceEnded>(replica.next());
  EXPECT_EQ(end.reason, EndReason::error);
  EXPECT_EQ(end.request, 1U);
  EXPECT_NE(end.error.find("32 pages"), std::string::npos) << end.error;
  replica.submit(request_of(2, 5, 1));
  EXPECT_EQ(std::get<TokenMade>(replica.next()).request, 2U);
  EXPECT_EQ(std::get<SequenceEnded>(replica.next()).reason, EndReason::length);
}

TEST(LeaderLoop, LostCoordinatorFreesEverything) {
  Replica replica(2, 1, 100us);
  for (uint64_t id = 1; id <= 3; ++id) replica.submit(request_of(id, 10, 1000000));
  EXPECT_TRUE(std::holds_alternative<TokenMade>(replica.next()));
  replica.inbox().push(CancelAll{});
  int ended = 0;
  for (;;) {
    const OutboxEvent event = replica.next();
    if (std::holds_alternative<SequenceEnded>(event)) ++ended;
    if (std::holds_alternative<AllCancelled>(event)) break;
  }
  EXPECT_EQ(ended, 3);
  replica.submit(request_of(1, 5, 1));  // the same id again, from a new coordinator
  EXPECT_EQ(std::get<TokenMade>(replica.next()).request, 1U);
}

// A leader that was stopped and goes on while mpirun ends its group must not ask the coordinator for work
// again.
TEST(LeaderLoop, LostCoordinatorIsLeftAloneUntilEveryRankAnswers) {
  const monitoring::SteadyClock clock;
  FakeExecutor executor({}), follower_executor({});
  Inbox inbox(8);
  Outbox outbox(8);
  GroupReportBoard board;
  monitoring::Progress progress(clock), follower_progress(clock);
  const auto groups = comm::make_thread_control_groups(2);
  LeaderLoop loop({16, 8, 8, 40, false}, *groups[0], executor, inbox, outbox, board, progress, clock,
                  monitoring::Log::silent());
  std::thread leader([&] { loop.run(); });
  inbox.push(CancelAll{});
  EXPECT_TRUE(outbox.wait(100ms).empty());
  std::thread follower([&] { run_follower(*groups[1], follower_executor, follower_progress); });
  const auto events = outbox.wait(60s);
  inbox.push(Stop{true});
  leader.join();
  follower.join();
  ASSERT_FALSE(events.empty());
  EXPECT_TRUE(std::holds_alternative<AllCancelled>(events.front()));
}

TEST(LeaderLoop, DrainFinishesWhatRunsAndTakesNothingNew) {
  Replica replica(2, 0, 100us);
  replica.submit(request_of(1, 10, 50));
  EXPECT_TRUE(std::holds_alternative<TokenMade>(replica.next()));
  replica.inbox().push(Stop{});
  replica.submit(request_of(2, 10, 50));
  std::map<uint64_t, EndReason> ends;
  for (;;) {
    const OutboxEvent event = replica.next();
    if (const auto* end = std::get_if<SequenceEnded>(&event)) ends[end->request] = end->reason;
    if (std::holds_alternative<Stopped>(event)) break;
  }
  EXPECT_EQ(ends, (std::map<uint64_t, EndReason>{{1, EndReason::length}, {2, EndReason::error}}));
}

// While nothing runs the leader still shows, once a second, that all ranks answer.
TEST(LeaderLoop, IdleGroupsMakeRoundTrips) {
  Replica replica(2);
  const GroupReport before = replica.report();
  const auto patience = std::chrono::steady_clock::now() + 20s;
  while (replica.report().last_round_trip == before.last_round_trip) {
    ASSERT_LT(std::chrono::steady_clock::now(), patience);
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_GT(replica.report().tick, before.tick);
}

TEST(LeaderLoop, AFailedStepEndsTheLoop) {
  const monitoring::SteadyClock clock;
  FakeExecutor::Options options;
  options.fails_at_step = 2;
  FakeExecutor executor(options);
  Inbox inbox(8);
  Outbox outbox(8);
  GroupReportBoard board;
  monitoring::Progress progress(clock);
  const auto groups = comm::make_thread_control_groups(1);
  LeaderLoop loop({16, 8, 8, 40, false}, *groups[0], executor, inbox, outbox, board, progress, clock,
                  monitoring::Log::silent());
  inbox.push(request_of(1, 10, 10));
  EXPECT_THROW(loop.run(), std::runtime_error);
}

}  // namespace
}  // namespace batchmax::worker
