// The part of a request that its RequestHandle and the cluster share: events that wait to be read, and the
// clock readings of its metrics. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <optional>

#include "coordinator/routing/cluster.h"
#include "monitoring/clock.h"

namespace batchmax::coordinator {

class RequestHandle::State {
 public:
  // leave: called at most once, when the handle goes before the end, with the reason to count (stop or
  // abort).
  State(const boost::asio::any_io_executor& executor, monitoring::TimePoint accepted,
        std::function<void(FinishReason)> leave);

  // ---- the cluster's side
  void push(TokenEvent event);
  // The cluster goes away: whoever reads gets an error as the end.
  void abandon();
  const monitoring::TimePoint accepted;
  std::optional<monitoring::TimePoint> last_token;

  // ---- the handle's side
  boost::asio::awaitable<TokenEvent> next();
  void leave(FinishReason reason);

 private:
  std::deque<TokenEvent> events_;
  boost::asio::steady_timer arrived_;        // never expires by itself: cancelled to wake the reader
  std::function<void(FinishReason)> leave_;  // empty once it has ended or left
};

}  // namespace batchmax::coordinator
