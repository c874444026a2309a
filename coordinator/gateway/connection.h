// One client's socket, with or without TLS: timed reads, writes that must make progress, and a watch for its
// end. Belongs to one session on the event loop.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>

#include "coordinator/gateway/body_room.h"

namespace batchmax::coordinator {

using Seconds = std::chrono::duration<double>;

// The client closed, or takes nothing any more. Whoever catches it closes the connection.
class ClientGone : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Connection {
 public:
  // unsent_bytes: what the kernel keeps for a client that does not read; what is on its way is not counted.
  Connection(boost::asio::ip::tcp::socket socket, int unsent_bytes);

  // TLS's handshake, before anything else is read; false: it failed, or took longer.
  boost::asio::awaitable<bool> secure(boost::asio::ssl::context& context, Seconds timeout);

  enum class Read : uint8_t { done, closed, idle, timed_out, too_large, no_room };

  // A request's header, with its empty line, into `head`. The first byte may take `idle` (Read::idle where
  // none came), all of it `whole` from the first byte on.
  boost::asio::awaitable<Read> read_head(std::string& head, size_t max_bytes, Seconds idle, Seconds whole);
  // room: grows with what has come; Read::no_room where others hold too much.
  boost::asio::awaitable<Read> read_body(std::string& body, size_t bytes, Seconds timeout, BodyRoom& room);

  // All of it, or ClientGone: no byte could be written for `stall`, or the client closed.
  boost::asio::awaitable<void> write(std::string_view bytes, Seconds stall);

  // Returns when the client has closed (a half-close counts: nobody who waits for an answer does that). What
  // it sends meanwhile is kept for the next read, up to 64 KiB; a client that sends more than that ahead is
  // not watched any further, its end shows when it is written to.
  boost::asio::awaitable<void> wait_for_close();

  // Sends what is left and reads on for a moment, so that the client sees the answer rather than a reset.
  boost::asio::awaitable<void> close();

 private:
  using Outcome = std::tuple<boost::system::error_code, size_t>;
  boost::asio::awaitable<Outcome> read_some(boost::asio::mutable_buffer into);
  boost::asio::awaitable<Read> read_more(std::chrono::steady_clock::time_point deadline);
  boost::asio::awaitable<void> write_secured(std::string_view bytes, Seconds stall);

  boost::asio::ip::tcp::socket socket_;
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>>
      tls_;                                // over socket_, once secure() has run
  boost::asio::steady_timer timer_;        // of reads
  boost::asio::steady_timer write_timer_;  // reads and writes may wait at once
  std::string received_;                   // not yet consumed
  bool ended_ = false;  // the client has closed; Asio says so once, and who reads again waits for ever
};

}  // namespace batchmax::coordinator
