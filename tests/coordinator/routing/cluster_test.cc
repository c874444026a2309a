// The cluster against leaders in this process that speak the real protocol over loopback.
#include "coordinator/routing/cluster.h"

#include <gmock/gmock.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "monitoring/metrics.h"
#include "tests/coordinator/routing/fake_leader.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using namespace std::chrono_literals;
using Behaviour = FakeLeader::Behaviour;

class ClusterTest : public testing::Test {
 protected:
  ClusterTest() {
    cluster_ = std::make_unique<Cluster>(io_.get_executor(), settings_, "secret", metrics_,
                                         monitoring::Log::silent());
    port_ = cluster_->listen();
  }

  // Runs the test's coroutine on the event loop; no test waits for ever.
  void run(std::function<asio::awaitable<void>()> body) {
    bool done = false;
    asio::co_spawn(io_, body, [&](std::exception_ptr error) {
      done = true;
      for (const auto& leader : leaders_) leader->die();
      cluster_.reset();
      io_.stop();
      if (error) std::rethrow_exception(error);
    });
    io_.run_for(30s);
    EXPECT_TRUE(done) << "the test hangs";
  }

  std::shared_ptr<FakeLeader> lead(Behaviour behaviour = {}) {
    leaders_.push_back(FakeLeader::start(io_.get_executor(), port_, std::move(behaviour)));
    return leaders_.back();
  }
  asio::awaitable<void> until(std::function<bool()> condition) {
    asio::steady_timer timer(io_);
    while (!condition()) {
      timer.expires_after(1ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
  }
  asio::awaitable<void> until_groups(int32_t count) {
    co_await until([this, count] { return cluster_->healthy_groups() == count; });
  }

  RequestHandle submit(int32_t max_tokens, int32_t prompt = 10) {
    return std::get<RequestHandle>(cluster_->submit(request(max_tokens, prompt)));
  }
  std::string rejection(int32_t max_tokens, int32_t prompt = 10) {
    auto answer = cluster_->submit(request(max_tokens, prompt));
    const auto* rejected = std::get_if<Rejection>(&answer);
    return rejected == nullptr ? "taken"
                               : std::to_string(static_cast<int>(rejected->kind)) + " " + rejected->message;
  }
  static TokenRequest request(int32_t max_tokens, int32_t prompt) {
    TokenRequest asked;
    asked.tokens.assign(static_cast<size_t>(prompt), 7);
    asked.max_tokens = max_tokens;
    asked.compression.mode = config::Mode::off;
    asked.stop_ids = {2};
    return asked;
  }
  // All ids, and the end.
  static asio::awaitable<TokenEnd> read(RequestHandle& handle, std::vector<int32_t>& ids) {
    for (;;) {
      const TokenEvent event = co_await handle.next();
      if (const auto* end = std::get_if<TokenEnd>(&event)) co_return *end;
      const auto& chunk = std::get<TokenChunk>(event);
      ids.insert(ids.end(), chunk.ids.begin(), chunk.ids.end());
    }
  }
  // A request runs on the only group; `meanwhile`; the group dies and comes back: the request ends whole.
  asio::awaitable<void> outlive_the_only_group(std::function<void()> meanwhile) {
    Behaviour behaviour;
    behaviour.tokens_at_most = 0;
    auto mortal = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    co_await until([&] { return mortal->submits.size() == 1; });
    meanwhile();
    mortal->die();
    co_await until_groups(0);
    behaviour.tokens_at_most = 100;
    behaviour.epoch = 2;
    lead(behaviour);
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(4));
    EXPECT_EQ(end.reason, FinishReason::length);
  }
  static std::vector<int32_t> tokens(uint32_t count) {
    std::vector<int32_t> ids;
    for (uint32_t i = 0; i < count; ++i) ids.push_back(fake_token(i));
    return ids;
  }

  asio::io_context io_;
  config::Settings settings_;
  monitoring::Metrics metrics_{"model"};
  std::unique_ptr<Cluster> cluster_;
  uint16_t port_ = 0;
  std::vector<std::shared_ptr<FakeLeader>> leaders_;
};

TEST_F(ClusterTest, HasNothingToOfferBeforeAGroupHasJoined) {
  run([this]() -> asio::awaitable<void> {
    EXPECT_THAT(rejection(5), HasSubstr("No group"));
    EXPECT_FALSE(cluster_->model());
    const bool healthy = co_await cluster_->health(5s);
    EXPECT_FALSE(healthy);
  });
}

TEST_F(ClusterTest, StreamsTokensToTheirEnd) {
  run([this]() -> asio::awaitable<void> {
    auto leader = lead();
    co_await until_groups(1);
    EXPECT_EQ(cluster_->model()->vocab_size, 32000);
    EXPECT_EQ(cluster_->model()->capacity_pages, 16);
    RequestHandle handle = submit(300);
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(300));
    EXPECT_EQ(end.reason, FinishReason::length);
    EXPECT_EQ(end.kv_bytes_held, 4321U);
    EXPECT_EQ(cluster_->requests_open(), 0);
    const comm::pb::Submit& seen = leader->submits.at(0);
    EXPECT_EQ(seen.prompt_length(), 10U);
    EXPECT_EQ(seen.pages(), 5U);
    EXPECT_EQ(seen.stop_ids(0), 2U);
    EXPECT_EQ(seen.compression().mode(), comm::pb::Compression::OFF);
    EXPECT_EQ(cluster_->groups().at(0).requests_served, 1U);
  });
}

TEST_F(ClusterTest, EndsWithStopWhenTheGroupDrewAStopId) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.stop_after = 3;
    lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(300);
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(3));
    EXPECT_EQ(end.reason, FinishReason::stop);
  });
}

TEST_F(ClusterTest, QueuesWhatDoesNotFitNowAndCancelsWhatIsDropped) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.tokens_at_most = 1;
    auto leader = lead(behaviour);
    co_await until_groups(1);
    auto first = std::make_unique<RequestHandle>(submit(1000));
    auto second = std::make_unique<RequestHandle>(submit(1000));
    co_await until([&] { return leader->submits.size() == 1; });
    EXPECT_EQ(cluster_->requests_open(), 2);
    first.reset();
    EXPECT_EQ(cluster_->requests_open(), 1);
    co_await until([&] { return leader->submits.size() == 2; });  // its pages were given back
    EXPECT_EQ(leader->cancels, std::vector<uint64_t>{leader->submits[0].request()});
    second->stop();
    second.reset();
    co_await until([&] { return leader->cancels.size() == 2; });
    EXPECT_EQ(cluster_->requests_open(), 0);
    EXPECT_THAT(metrics_.text(), HasSubstr("batchmax_requests_total{finish_reason=\"abort\"} 1"));
    EXPECT_THAT(metrics_.text(), HasSubstr("batchmax_requests_total{finish_reason=\"stop\"} 1"));
  });
}

TEST_F(ClusterTest, GoesOnElsewhereWhenAGroupDies) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.tokens_at_most = 5;
    auto mortal = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(20);
    co_await until([&] { return mortal->submits.size() == 1; });
    std::vector<int32_t> ids;
    while (ids.size() < 5) {
      const TokenEvent event = co_await handle.next();
      ids.push_back(std::get<TokenChunk>(event).ids.at(0));
    }
    Behaviour next;
    next.group = "g1";
    auto heir = lead(next);
    co_await until_groups(2);
    mortal->die();
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(20));
    EXPECT_EQ(end.reason, FinishReason::length);
    EXPECT_EQ(heir->submits.at(0).attempt(), 2U);
    EXPECT_EQ(heir->submits.at(0).tokens_size(), 15);
    EXPECT_EQ(heir->submits.at(0).prompt_length(), 10U);
    EXPECT_EQ(cluster_->healthy_groups(), 1);
    EXPECT_FALSE(cluster_->groups().at(0).healthy);
    EXPECT_TRUE(cluster_->groups().at(1).healthy);
    EXPECT_THAT(metrics_.text(), HasSubstr("batchmax_group_up{group=\"g0\"} 0"));
  });
}

TEST_F(ClusterTest, WaitsForTheOnlyGroupToComeBack) {
  run([this]() -> asio::awaitable<void> {
    co_await outlive_the_only_group([] {});
    EXPECT_EQ(cluster_->groups().at(0).epoch, 2U);
  });
}

TEST_F(ClusterTest, GivesUpAGroupThatFallsSilent) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.heartbeats = false;
    behaviour.tokens_at_most = 1;
    auto silent = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    Behaviour next;
    next.group = "g1";
    lead(next);
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(4));
    EXPECT_EQ(end.reason, FinishReason::length);
    co_await until([&] { return silent->ended; });
  });
}

TEST_F(ClusterTest, DropsAGroupThatBreaksTheProtocol) {
  run([this]() -> asio::awaitable<void> {
    Behaviour repeats;
    repeats.repeats_a_token = true;
    auto broken = lead(repeats);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    co_await until([&] { return broken->ended; });
    Behaviour strange;
    strange.group = "g1";
    strange.add_to_ids = 40000;  // outside of the vocabulary
    broken = lead(strange);
    co_await until([&] { return broken->ended; });
    Behaviour next;
    next.group = "g2";
    lead(next);
    std::vector<int32_t> ids;
    co_await read(handle, ids);
    EXPECT_EQ(ids, tokens(4));
  });
}

TEST_F(ClusterTest, IsHealthyAfterARoundTripOnly) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.answers_ping = false;
    auto deaf = lead(behaviour);
    co_await until_groups(1);
    const bool unanswered = co_await cluster_->health(20ms);
    EXPECT_FALSE(unanswered);
    Behaviour next;
    next.group = "g1";
    lead(next);
    co_await until_groups(2);
    co_await until([begin = std::chrono::steady_clock::now()] {
      return std::chrono::steady_clock::now() - begin > 150ms;  // questions close together share one Ping
    });
    const bool answered = co_await cluster_->health(20s);
    EXPECT_TRUE(answered);
  });
}

TEST_F(ClusterTest, DoesNotCountAGroupWhoseRanksDoNotAnswer) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.round_trip_age_ms = 60'000;
    auto leader = lead(behaviour);
    co_await until([&] { return leader->welcome && cluster_->healthy_groups() == 0; });
    EXPECT_FALSE(cluster_->groups().at(0).healthy);
  });
}

TEST_F(ClusterTest, RefusesAGroupWithOtherSettingsOrSecret) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.digest = "other";
    auto different = lead(behaviour);
    co_await until([&] { return different->ended; });
    EXPECT_THAT(different->refused, HasSubstr("must be the same on both sides"));
    behaviour = {};
    behaviour.secret = "guess";
    auto stranger = lead(behaviour);
    co_await until([&] { return stranger->ended; });
    EXPECT_THAT(stranger->failure, testing::StartsWith("secret mismatch"));
    EXPECT_EQ(cluster_->healthy_groups(), 0);
  });
}

TEST_F(ClusterTest, ShowsTheFiguresOfItsGroups) {
  run([this]() -> asio::awaitable<void> {
    lead();
    co_await until([&] { return metrics_.text().find("1234") != std::string::npos; });
    EXPECT_THAT(metrics_.text(), HasSubstr("batchmax_group_up{group=\"g0\"} 1"));
  });
}

TEST_F(ClusterTest, RejectsWithTheReason) {
  run([this]() -> asio::awaitable<void> {
    lead();
    co_await until_groups(1);
    EXPECT_THAT(rejection(1000, 2000), HasSubstr("At most 1024 tokens"));
    cluster_->stop_accepting();
    EXPECT_THAT(rejection(1), HasSubstr("shutting down"));
    EXPECT_THAT(metrics_.text(), HasSubstr("batchmax_requests_rejected_total{reason=\"never_fits\"} 1"));
  });
}

TEST_F(ClusterTest, TellsGroupsAndRequestsWhenItCloses) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.tokens_at_most = 0;
    auto leader = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    co_await until([&] { return leader->submits.size() == 1; });
    cluster_->close();
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(end.reason, FinishReason::error);
    EXPECT_THAT(end.error, HasSubstr("shutting down"));
    co_await until([&] { return leader->ended; });
    EXPECT_TRUE(leader->drained);
  });
}

TEST_F(ClusterTest, LetsALostGroupComeBackWhileItDrains) {
  run([this]() -> asio::awaitable<void> {
    co_await outlive_the_only_group([this] { cluster_->stop_accepting(); });
  });
}

TEST_F(ClusterTest, LetsAWaitForTokensBeCancelled) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.tokens_at_most = 0;
    auto leader = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    asio::cancellation_signal signal;
    std::string error;
    asio::co_spawn(
        io_,
        [&]() -> asio::awaitable<void> {
          try {
            co_await handle.next();
          } catch (const boost::system::system_error& thrown) {
            error = thrown.code().message();
          }
        },
        asio::bind_cancellation_slot(signal.slot(), asio::detached));
    co_await until([&] { return leader->submits.size() == 1; });
    signal.emit(asio::cancellation_type::terminal);
    co_await until([&] { return !error.empty(); });
    EXPECT_EQ(error, "Operation canceled");
  });
}

TEST_F(ClusterTest, EndsHandlesThatOutliveIt) {
  run([this]() -> asio::awaitable<void> {
    Behaviour behaviour;
    behaviour.tokens_at_most = 0;
    auto leader = lead(behaviour);
    co_await until_groups(1);
    RequestHandle handle = submit(4);
    cluster_.reset();
    std::vector<int32_t> ids;
    const TokenEnd end = co_await read(handle, ids);
    EXPECT_EQ(end.reason, FinishReason::error);
  });
}

}  // namespace
}  // namespace batchmax::coordinator
