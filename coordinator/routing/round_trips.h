// Who waits for a round trip through a group, and whether one has been made lately. Questions that come close
// together share one Ping, so that asking often costs the groups nothing. Shared with waiting coroutines,
// which may outlive the cluster. Event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>

#include "monitoring/clock.h"

namespace batchmax::coordinator {

class RoundTrips {
 public:
  // The id of a new Ping to send; 0: one sent a moment ago will do.
  uint64_t begin(monitoring::TimePoint now) {
    if (sent_ != 0 && now - sent_at_ < kShared) return 0;
    sent_at_ = now;
    return ++sent_;
  }
  void pong(uint64_t id) {
    if (id <= answered_ || id > sent_) return;
    answered_ = id;
    for (boost::asio::steady_timer* waiting : waiting_) waiting->cancel();
  }
  size_t waiting() const { return waiting_.size(); }
  // True once the newest Ping of this moment has been answered; false after `timeout`.
  static boost::asio::awaitable<bool> wait(std::shared_ptr<RoundTrips> self,
                                           boost::asio::any_io_executor executor,
                                           std::chrono::milliseconds timeout) {
    const uint64_t id = self->sent_;
    boost::asio::steady_timer timer(executor, timeout);
    const Waiting waiting(*self, timer);
    bool expired = false;
    while (self->answered_ < id && !expired) {
      boost::system::error_code woken;
      co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
      expired = !woken;
    }
    co_return self->answered_ >= id;
  }

 private:
  // Ends with the wait, also where that is cancelled.
  class Waiting {
   public:
    Waiting(RoundTrips& trips, boost::asio::steady_timer& timer) : trips_(trips), timer_(timer) {
      trips_.waiting_.insert(&timer_);
    }
    ~Waiting() { trips_.waiting_.erase(&timer_); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    RoundTrips& trips_;
    boost::asio::steady_timer& timer_;
  };

  static constexpr std::chrono::milliseconds kShared{100};
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  monitoring::TimePoint sent_at_{};
  std::set<boost::asio::steady_timer*> waiting_;
};

}  // namespace batchmax::coordinator
