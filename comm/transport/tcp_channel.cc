#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>

#include "comm/transport/channel.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr unsigned kUnacknowledgedMilliseconds = 10000;

std::string describe(const tcp::socket& socket) {
  boost::system::error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return "a peer that has gone";
  const std::string address = peer.address().to_string();
  return (peer.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(peer.port());
}

class TcpChannel final : public Channel {
 public:
  explicit TcpChannel(tcp::socket socket) : socket_(std::move(socket)), remote_(describe(socket_)) {
    boost::system::error_code ignored;  // a socket that is closed already fails at its first read
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMilliseconds,
                 sizeof(kUnacknowledgedMilliseconds));
  }

  asio::any_io_executor executor() override { return socket_.get_executor(); }

  // Small frames come many at once: they are taken from the kernel together.
  asio::awaitable<void> read_exactly(asio::mutable_buffer into) override {
    while (into.size() > 0) {
      if (begin_ < end_) {
        const size_t count = std::min(into.size(), end_ - begin_);
        std::memcpy(into.data(), buffer_.data() + begin_, count);
        begin_ += count;
        into += count;
      } else if (into.size() >= buffer_.size()) {
        const size_t count = co_await socket_.async_read_some(into, asio::use_awaitable);
        into += count;
      } else {
        begin_ = end_ = 0;
        end_ = co_await socket_.async_read_some(asio::buffer(buffer_), asio::use_awaitable);
      }
    }
  }

  asio::awaitable<void> write_all(asio::const_buffer bytes) override {
    co_await asio::async_write(socket_, bytes, asio::use_awaitable);
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

  const std::string& remote() const override { return remote_; }

 private:
  tcp::socket socket_;
  std::string remote_;
  std::array<char, 16 * 1024> buffer_{};
  size_t begin_ = 0;  // of what was read and not asked for yet
  size_t end_ = 0;
};

}  // namespace

std::unique_ptr<Channel> make_tcp_channel(tcp::socket socket) {
  return std::make_unique<TcpChannel>(std::move(socket));
}

}  // namespace batchmax::comm
