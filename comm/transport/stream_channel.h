// Channel over whatever Asio reads and writes: a TCP socket, or TLS over one. Included by the sources that
// make channels, by nobody else.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <utility>

#include "comm/transport/channel.h"

namespace batchmax::comm {

// "127.0.0.1:4711".
std::string describe_peer(const boost::asio::ip::tcp::socket& socket);

template <typename Stream>  // its lowest layer is a tcp::socket
class StreamChannel final : public Channel {
 public:
  template <typename... Arguments>
  explicit StreamChannel(boost::asio::ip::tcp::socket socket, Arguments&&... arguments)
      : remote_(describe_peer(socket)), stream_(std::move(socket), std::forward<Arguments>(arguments)...) {
    namespace asio = boost::asio;
    constexpr unsigned kUnacknowledgedMilliseconds = 10000;
    boost::system::error_code ignored;  // a socket that is closed already fails at its first read
    stream_.lowest_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
    stream_.lowest_layer().set_option(asio::socket_base::keep_alive(true), ignored);
    ::setsockopt(stream_.lowest_layer().native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT,
                 &kUnacknowledgedMilliseconds, sizeof(kUnacknowledgedMilliseconds));
  }

  Stream& stream() { return stream_; }

  boost::asio::any_io_executor executor() override { return stream_.get_executor(); }

  // Small frames come many at once: they are taken from the kernel together.
  boost::asio::awaitable<void> read_exactly(boost::asio::mutable_buffer into) override {
    while (into.size() > 0) {
      if (begin_ < end_) {
        const size_t count = std::min(into.size(), end_ - begin_);
        std::memcpy(into.data(), buffer_.data() + begin_, count);
        begin_ += count;
        into += count;
      } else if (into.size() >= buffer_.size()) {
        const size_t count = co_await stream_.async_read_some(into, boost::asio::use_awaitable);
        into += count;
      } else {
        begin_ = end_ = 0;
        end_ = co_await stream_.async_read_some(boost::asio::buffer(buffer_), boost::asio::use_awaitable);
      }
    }
  }

  boost::asio::awaitable<void> write_all(boost::asio::const_buffer bytes) override {
    co_await boost::asio::async_write(stream_, bytes, boost::asio::use_awaitable);
  }

  // TLS says no goodbye of its own: frames have their length, so nobody mistakes a cut for an end.
  void close() noexcept override {
    boost::system::error_code ignored;
    stream_.lowest_layer().shutdown(boost::asio::socket_base::shutdown_both, ignored);
    stream_.lowest_layer().close(ignored);
  }

  const std::string& remote() const override { return remote_; }

 private:
  std::string remote_;
  Stream stream_;
  std::array<char, 16 * 1024> buffer_{};
  size_t begin_ = 0;  // of what was read and not asked for yet
  size_t end_ = 0;
};

}  // namespace batchmax::comm
