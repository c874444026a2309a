// Several running requests as one stream of events. Each has a coroutine that waits for its tokens; they meet
// in one bounded queue. Dropping the stream cancels whatever has not ended. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gateway/token_backend.h"

namespace batchmax::coordinator {

class TokenStream {
 public:
  struct Event {
    size_t choice;
    TokenEvent event;
  };

  // At most `capacity` tokens wait here; beyond that the requests' own queues hold them, which their
  // max_tokens bound.
  TokenStream(boost::asio::any_io_executor executor, std::vector<std::unique_ptr<TokenSource>> sources,
              size_t capacity);
  ~TokenStream();
  TokenStream(const TokenStream&) = delete;
  TokenStream& operator=(const TokenStream&) = delete;

  // The next event; empty when none came within `patience`. One waiter. No choice has an event after its
  // TokenEnd, and after the last TokenEnd next() must not be called.
  boost::asio::awaitable<std::optional<Event>> next(std::chrono::steady_clock::duration patience);
  std::optional<Event> poll();  // without waiting

  // This choice has all it wants: no further events of it, its request is stopped.
  void stop(size_t choice);
  // Every choice that has not ended ends with an error.
  void fail(const std::string& reason);

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace batchmax::coordinator
