// Two connected sockets on the loopback, and a way to run coroutines to their end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

namespace batchmax::comm {

inline std::pair<boost::asio::ip::tcp::socket, boost::asio::ip::tcp::socket> socket_pair(
    boost::asio::io_context& io) {
  using boost::asio::ip::tcp;
  tcp::acceptor acceptor(io, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  tcp::socket a(io);
  a.connect(acceptor.local_endpoint());
  return {std::move(a), acceptor.accept()};
}

// Runs all of them side by side until the event loop has nothing left to do; rethrows the first exception.
inline void run_all(boost::asio::io_context& io,
                    std::vector<std::function<boost::asio::awaitable<void>()>> parts) {
  std::exception_ptr first;
  for (auto& part : parts) {
    boost::asio::co_spawn(io, part, [&first](std::exception_ptr error) {
      if (error && !first) first = error;
    });
  }
  io.run();
  io.restart();
  if (first) std::rethrow_exception(first);
}

}  // namespace batchmax::comm
