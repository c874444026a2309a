// Clients that stream completions: each asks, reads to the end, and asks again on the same connection. All on
// one event loop; the counters may be read from elsewhere.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>

namespace batchmax::bench {

class Clients {
 public:
  struct Plan {
    uint16_t port = 0;
    int streams = 0;
    double ramp_seconds = 0;  // over which they arrive
    int least_tokens = 0;     // of an answer; each differs, up to twice as many. First answers are cut, so
                              // that clients are spread over theirs from the start
  };
  Clients(boost::asio::any_io_executor executor, Plan plan) : executor_(std::move(executor)), plan_(plan) {}

  void start();
  int64_t tokens() const { return tokens_; }        // events that came so far
  int32_t streaming() const { return streaming_; }  // clients that have had a token
  int32_t failed() const { return failed_; }        // answers that were none

 private:
  boost::asio::awaitable<void> arrive();
  boost::asio::awaitable<void> run();
  std::string request(bool first);

  boost::asio::any_io_executor executor_;
  const Plan plan_;
  uint64_t next_seed_ = 1;
  std::atomic<int64_t> tokens_{0};
  std::atomic<int32_t> streaming_{0}, failed_{0};
};

}  // namespace batchmax::bench
