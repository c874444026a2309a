// A byte stream to one peer, as handshake and frames see it: TCP, or TLS over it (tls.h), which changes
// nothing above. Used on its executor's one thread; one reader and one writer at a time.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

namespace batchmax::comm {

class Channel {
 public:
  virtual ~Channel() = default;
  virtual boost::asio::any_io_executor executor() = 0;
  // Both throw boost::system::system_error: end of stream, connection reset, closed here.
  virtual boost::asio::awaitable<void> read_exactly(boost::asio::mutable_buffer into) = 0;
  virtual boost::asio::awaitable<void> write_all(boost::asio::const_buffer bytes) = 0;
  // Idempotent. A read or write that waits ends with an exception; the Channel must outlive it.
  virtual void close() noexcept = 0;
  virtual const std::string& remote() const = 0;  // "127.0.0.1:4711", for messages
};

// Takes a connected socket. Small frames leave at once (no Nagle delay), and bytes that the peer's machine
// does not acknowledge for 10 s break the connection: a peer whose machine is gone sends no reset.
std::unique_ptr<Channel> make_tcp_channel(boost::asio::ip::tcp::socket socket);

}  // namespace batchmax::comm
