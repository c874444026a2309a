// A session with the real transport on one side and a real leader loop with a fake executor on the other.
#include "worker/leader/session.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <thread>

#include "comm/group/control_group.h"
#include "comm/protocol/version.h"
#include "comm/transport/listener.h"
#include "config/kv_reservation.h"
#include "tests/worker/leader/fake_executor.h"

namespace batchmax::worker {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// The coordinator's side of the wire, as a test drives it: every call waits for its outcome, a minute at
// most.
class FakeCoordinator {
 public:
  explicit FakeCoordinator(uint16_t port = 0, const std::string& secret = "secret") {
    listener_ = std::make_unique<comm::Listener>(loop_.get_executor(), "127.0.0.1", port, secret,
                                                 comm::ListenOptions{}, monitoring::Log::silent());
    port_ = listener_->port();
    listener_->start([this](std::shared_ptr<comm::Connection> connection) {
      connection_ = std::move(connection);
      came_.set_value();
    });
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~FakeCoordinator() {
    on_loop([this] {
      listener_->close();
      if (connection_) connection_->close();
      connection_.reset();
    });
    work_.reset();
    thread_.join();
  }

  uint16_t port() const { return port_; }
  comm::pb::Frame hello() {
    wait(came_.get_future());
    return receive();
  }
  void welcome(const std::string& refused = "") {
    comm::pb::Frame frame;
    frame.mutable_welcome()->set_refused(refused);
    send(frame);
  }
  void send(const comm::pb::Frame& frame) {
    on_loop([&] { EXPECT_TRUE(connection_->try_send(frame)); });
  }
  comm::pb::Frame receive() {
    return wait(asio::co_spawn(
        loop_, [this]() -> asio::awaitable<comm::pb::Frame> { co_return co_await connection_->receive(); },
        asio::use_future));
  }
  // The next frame that is no report.
  comm::pb::Frame answer() {
    for (;;) {
      comm::pb::Frame frame = receive();
      if (!frame.has_heartbeat() && !frame.has_load()) return frame;
    }
  }

 private:
  template <typename T>
  static T wait(std::future<T> future) {
    if (future.wait_for(60s) != std::future_status::ready)
      throw std::runtime_error("the session says nothing");
    return future.get();
  }
  void on_loop(const std::function<void()>& what) {
    std::promise<void> done;
    asio::post(loop_, [&] {
      what();
      done.set_value();
    });
    wait(done.get_future());
  }

  asio::io_context loop_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(loop_);
  std::unique_ptr<comm::Listener> listener_;
  std::shared_ptr<comm::Connection> connection_;
  std::promise<void> came_;
  uint16_t port_ = 0;
  std::thread thread_;
};

class Leader {
 public:
  explicit Leader(uint16_t port, std::chrono::milliseconds redial_for = 60s) {
    settings_.worker_port = port;
    settings_.compression.budget = 64;
    settings_.compression.block = 16;
    FakeExecutor::Options options;
    options.facts.capacity_pages = 16;
    options.facts.max_model_len = 4096;
    options.facts.vocab_size = kVocabulary;
    options.facts.max_sequences = 8;
    options.facts.kv_bytes_per_slot = 100;
    options.facts.kv_heads = 4;
    options.step_time = 1ms;
    executor_ = std::make_unique<FakeExecutor>(options);
    comm::DialOptions dial;
    dial.redial_for = redial_for;
    dial.first_pause = 5ms;
    session_ =
        std::make_unique<Session>(Session::Parts{settings_, executor_->facts(), "g7", 42, "secret", inbox_,
                                                 outbox_, board_, clock_, monitoring::Log::silent(), dial});
    const SchedulerLimits limits{16, 8, 8, 8 + 2 * 16, false};
    loop_ = std::make_unique<LeaderLoop>(limits, *group_[0], *executor_, inbox_, outbox_, board_, progress_,
                                         clock_, monitoring::Log::silent());
    step_ = std::thread([this] { loop_->run(); });
    io_ = std::thread([this] { result_.set_value(session_->run()); });
  }
  ~Leader() {
    io_.join();
    step_.join();
  }
  SessionResult result() {
    auto future = result_.get_future();
    if (future.wait_for(60s) != std::future_status::ready)
      throw std::runtime_error("the session does not end");
    return future.get();
  }
  const config::Settings& settings() const { return settings_; }
  GroupReport report() const { return board_.read(); }

 private:
  config::Settings settings_;
  const monitoring::SteadyClock clock_;
  std::vector<std::unique_ptr<comm::ControlGroup>> group_ = comm::make_thread_control_groups(1);
  monitoring::Progress progress_{clock_};
  std::unique_ptr<FakeExecutor> executor_;
  Inbox inbox_{64};
  Outbox outbox_{1024};
  GroupReportBoard board_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<LeaderLoop> loop_;
  std::promise<SessionResult> result_;
  std::thread step_;
  std::thread io_;
};

comm::pb::Frame submit_of(const config::Settings& settings, uint64_t request, uint32_t max_tokens) {
  comm::pb::Frame frame;
  comm::pb::Submit& submit = *frame.mutable_submit();
  const auto resolved =
      std::get<config::Compression>(config::resolve(settings.compression, std::nullopt, std::nullopt));
  submit.set_request(request);
  submit.set_attempt(1);
  for (uint32_t i = 0; i < 20; ++i) submit.add_tokens(i);
  submit.set_prompt_length(20);
  submit.set_max_tokens(max_tokens);
  comm::pb::Compression& compression = *submit.mutable_compression();
  compression.set_mode(comm::pb::Compression::FULL);
  compression.set_budget(static_cast<uint32_t>(resolved.budget));
  compression.set_block(static_cast<uint32_t>(resolved.block));
  compression.set_sinks(static_cast<uint32_t>(resolved.sinks));
  compression.set_recent(static_cast<uint32_t>(resolved.recent));
  compression.set_prompt_tail(static_cast<uint32_t>(resolved.prompt_tail));
  compression.set_decode_block(static_cast<uint32_t>(resolved.decode_block));
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_repetition_penalty(1);
  submit.mutable_sampling()->set_seed(request);
  submit.set_pages(
      static_cast<uint32_t>(config::reservation(resolved, 20, static_cast<int32_t>(max_tokens)).pages));
  return frame;
}

comm::pb::Frame drain() {
  comm::pb::Frame frame;
  frame.mutable_drain();
  return frame;
}

TEST(Session, SaysWhatTheGroupIsAndEndsWhenDrained) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  const comm::pb::Frame frame = coordinator.hello();
  EXPECT_EQ(frame.hello().protocol(), comm::kProtocolVersion);
  EXPECT_EQ(frame.hello().group(), "g7");
  EXPECT_EQ(frame.hello().epoch(), 42U);
  EXPECT_EQ(frame.hello().capacity_pages(), 16U);
  EXPECT_EQ(frame.hello().page_slots(), 64U);
  EXPECT_EQ(frame.hello().config_digest(), config::shared_digest(leader.settings()));
  coordinator.welcome();
  coordinator.send(drain());
  EXPECT_EQ(leader.result().end, SessionEnd::drained);
}

TEST(Session, AnswersASubmitWithItsTokensInOrderAndOneEnd) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  coordinator.hello();
  coordinator.welcome();
  coordinator.send(submit_of(leader.settings(), 5, 12));
  for (uint32_t index = 0; index < 12; ++index) {
    const comm::pb::Frame frame = coordinator.answer();
    ASSERT_TRUE(frame.has_tokens()) << frame.DebugString();
    EXPECT_EQ(frame.tokens().request(), 5U);
    EXPECT_EQ(frame.tokens().attempt(), 1U);
    EXPECT_EQ(frame.tokens().index(), index);
    EXPECT_EQ(frame.tokens().ids(0), static_cast<uint32_t>(drawn_id(5, static_cast<int32_t>(20 + index))));
  }
  const comm::pb::Frame end = coordinator.answer();
  ASSERT_TRUE(end.has_finished()) << end.DebugString();
  EXPECT_EQ(end.finished().reason(), comm::pb::FINISH_LENGTH);
  EXPECT_EQ(end.finished().output_tokens(), 12U);
  EXPECT_EQ(end.finished().kv_bytes_held(), 100U * 31U);  // the last token drawn is not stored
  coordinator.send(drain());
  EXPECT_EQ(leader.result().end, SessionEnd::drained);
}

TEST(Session, CancelsWhatIsAsked) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  coordinator.hello();
  coordinator.welcome();
  coordinator.send(submit_of(leader.settings(), 6, 4000));
  ASSERT_TRUE(coordinator.answer().has_tokens());
  comm::pb::Frame cancel;
  cancel.mutable_cancel()->set_request(6);
  coordinator.send(cancel);
  comm::pb::Frame frame = coordinator.answer();
  while (frame.has_tokens()) frame = coordinator.answer();
  ASSERT_TRUE(frame.has_finished());
  EXPECT_EQ(frame.finished().reason(), comm::pb::FINISH_CANCELLED);
  coordinator.send(drain());
  leader.result();
}

TEST(Session, RefusesASubmitThatCannotBeRunAndLivesOn) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  coordinator.hello();
  coordinator.welcome();
  comm::pb::Frame bad = submit_of(leader.settings(), 7, 4);
  bad.mutable_submit()->set_pages(9);
  coordinator.send(bad);
  const comm::pb::Frame refused = coordinator.answer();
  ASSERT_TRUE(refused.has_finished());
  EXPECT_EQ(refused.finished().reason(), comm::pb::FINISH_ERROR);
  EXPECT_NE(refused.finished().error().find("9 pages"), std::string::npos);
  comm::pb::Frame ping;
  ping.mutable_ping()->set_id(11);
  coordinator.send(ping);
  const comm::pb::Frame pong = coordinator.answer();
  ASSERT_TRUE(pong.has_pong());
  EXPECT_EQ(pong.pong().id(), 11U);
  coordinator.send(drain());
  leader.result();
}

TEST(Session, ReportsLoadAndHealth) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  coordinator.hello();
  coordinator.welcome();
  bool heartbeat = false;
  bool load = false;
  while (!heartbeat || !load) {
    const comm::pb::Frame frame = coordinator.receive();
    heartbeat = heartbeat || frame.has_heartbeat();
    if (frame.has_load()) {
      load = true;
      EXPECT_EQ(frame.load().pages_free(), 16U);
    }
  }
  coordinator.send(drain());
  leader.result();
}

TEST(Session, CancelsEverythingAndDialsAgainWhenTheCoordinatorIsLost) {
  auto first = std::make_unique<FakeCoordinator>();
  const uint16_t port = first->port();
  Leader leader(port);
  first->hello();
  first->welcome();
  first->send(submit_of(leader.settings(), 8, 4000));
  ASSERT_TRUE(first->answer().has_tokens());
  first.reset();
  FakeCoordinator second(port);
  const comm::pb::Frame frame = second.hello();
  EXPECT_EQ(frame.hello().epoch(), 42U);
  EXPECT_EQ(leader.report().figures.pages_free, 16);
  second.welcome();
  second.send(submit_of(leader.settings(), 8, 2));  // the number is free again
  EXPECT_TRUE(second.answer().has_tokens());
  second.send(drain());
  EXPECT_EQ(leader.result().end, SessionEnd::drained);
}

TEST(Session, EndsWhenNoCoordinatorComesBack) {
  auto coordinator = std::make_unique<FakeCoordinator>();
  Leader leader(coordinator->port(), 50ms);
  coordinator->hello();
  coordinator->welcome();
  coordinator->send(submit_of(leader.settings(), 9, 4000));
  ASSERT_TRUE(coordinator->answer().has_tokens());
  coordinator.reset();
  const SessionResult result = leader.result();
  EXPECT_EQ(result.end, SessionEnd::lost);
  EXPECT_NE(result.reason.find("no coordinator at"), std::string::npos);
}

TEST(Session, DoesNotTryAgainWhereItIsRefused) {
  FakeCoordinator coordinator;
  Leader leader(coordinator.port());
  coordinator.hello();
  coordinator.welcome("the settings differ");
  const SessionResult result = leader.result();
  EXPECT_EQ(result.end, SessionEnd::refused);
  EXPECT_NE(result.reason.find("the settings differ"), std::string::npos);
}

TEST(Session, DoesNotTryAgainWithAnotherSecret) {
  FakeCoordinator coordinator(0, "another");
  Leader leader(coordinator.port());
  EXPECT_EQ(leader.result().end, SessionEnd::refused);
}

}  // namespace
}  // namespace batchmax::worker
