// A TCP proxy on the loopback that does to its connections what networks do. On the event loop's one thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace batchmax::testing {

class FaultProxy {
 public:
  FaultProxy(boost::asio::any_io_executor executor, uint16_t target);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  uint16_t port() const;

  // Of all connections that there are now.
  void cut();                                      // reset, both sides
  void cut_within(size_t bytes);                   // after so many more bytes of one direction
  void half_open(std::chrono::milliseconds time);  // nothing passes, nobody is told; then reset
  void delay(std::chrono::milliseconds time);      // nothing passes, then all of it
  void dribble(size_t bytes);                      // so many bytes of each direction pass one by one

 private:
  struct Link;
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace batchmax::testing
