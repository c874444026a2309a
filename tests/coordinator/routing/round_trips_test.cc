#include "coordinator/routing/round_trips.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

class RoundTripsTest : public testing::Test {
 protected:
  void ask(std::optional<bool>& answer, asio::cancellation_slot slot = {}) {
    asio::co_spawn(io_, RoundTrips::wait(trips_, io_.get_executor(), 20s),
                   asio::bind_cancellation_slot(slot, [&answer](const std::exception_ptr& error, bool made) {
                     answer = !error && made;
                   }));
    io_.poll();
  }
  asio::io_context io_;
  std::shared_ptr<RoundTrips> trips_ = std::make_shared<RoundTrips>();
};

TEST_F(RoundTripsTest, QuestionsCloseTogetherShareOnePing) {
  const monitoring::TimePoint now{};
  EXPECT_EQ(trips_->begin(now), 1U);
  EXPECT_EQ(trips_->begin(now + 99ms), 0U);
  EXPECT_EQ(trips_->begin(now + 100ms), 2U);
}

TEST_F(RoundTripsTest, TheAnswerReachesAllWhoWait) {
  const uint64_t id = trips_->begin({});
  std::optional<bool> first, second;
  ask(first);
  ask(second);
  EXPECT_FALSE(first);
  trips_->pong(id);
  io_.poll();
  EXPECT_EQ(first, true);
  EXPECT_EQ(second, true);
  EXPECT_EQ(trips_->waiting(), 0U);
}

TEST_F(RoundTripsTest, WhoLeavesIsForgotten) {
  const uint64_t id = trips_->begin({});
  asio::cancellation_signal signal;
  std::optional<bool> gone, stays;
  ask(gone, signal.slot());
  ask(stays);
  EXPECT_EQ(trips_->waiting(), 2U);
  signal.emit(asio::cancellation_type::terminal);
  io_.poll();
  EXPECT_EQ(gone, false);
  EXPECT_EQ(trips_->waiting(), 1U);
  trips_->pong(id);
  io_.poll();
  EXPECT_EQ(stays, true);
}

}  // namespace
}  // namespace batchmax::coordinator
