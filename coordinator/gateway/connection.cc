#include "coordinator/gateway/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using boost::asio::experimental::awaitable_operators::operator||;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kSentAheadBytes = 64 * 1024;
constexpr auto kAnswer = asio::as_tuple(asio::use_awaitable);

std::chrono::steady_clock::time_point after(Seconds seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(seconds);
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, int unsent_bytes)
    : socket_(std::move(socket)), timer_(socket_.get_executor()), write_timer_(socket_.get_executor()) {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  // Left to itself the kernel takes megabytes for each, and a client that stopped reading would look as if it
  // read.
  ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
}

asio::awaitable<bool> Connection::secure(asio::ssl::context& context, Seconds timeout) {
  tls_.emplace(socket_, context);
  timer_.expires_at(after(timeout));
  const auto outcome =
      co_await (tls_->async_handshake(asio::ssl::stream_base::server, kAnswer) || timer_.async_wait(kAnswer));
  co_return outcome.index() == 0 && !std::get<0>(std::get<0>(outcome));
}

asio::awaitable<Connection::Outcome> Connection::read_some(asio::mutable_buffer into) {
  if (tls_) co_return co_await tls_->async_read_some(into, kAnswer);
  co_return co_await socket_.async_read_some(into, kAnswer);
}

asio::awaitable<Connection::Read> Connection::read_more(std::chrono::steady_clock::time_point deadline) {
  if (ended_) co_return Read::closed;
  std::array<char, kReadBytes> bytes;
  timer_.expires_at(deadline);
  const auto outcome = co_await (read_some(asio::buffer(bytes)) || timer_.async_wait(kAnswer));
  if (outcome.index() == 1) co_return Read::timed_out;
  const auto& [error, count] = std::get<0>(outcome);
  if (error) co_return Read::closed;
  received_.append(bytes.data(), count);
  co_return Read::done;
}

asio::awaitable<Connection::Read> Connection::read_head(std::string& head, size_t max_bytes, Seconds idle,
                                                        Seconds whole) {
  if (received_.empty()) {
    const Read read = co_await read_more(after(idle));
    if (read != Read::done) co_return read == Read::timed_out ? Read::idle : read;
  }
  const auto deadline = after(whole);
  size_t searched = 0;
  for (;;) {
    const size_t end = received_.find("\r\n\r\n", searched);
    if (end != std::string::npos && end + 4 <= max_bytes) {
      head = received_.substr(0, end + 4);
      received_.erase(0, end + 4);
      co_return Read::done;
    }
    if (end != std::string::npos || received_.size() > max_bytes) co_return Read::too_large;
    searched = received_.size() - std::min<size_t>(received_.size(), 3);
    const Read read = co_await read_more(deadline);
    if (read != Read::done) co_return read;
  }
}

asio::awaitable<Connection::Read> Connection::read_body(std::string& body, size_t bytes, Seconds timeout,
                                                        BodyRoom& room) {
  const auto deadline = after(timeout);
  for (;;) {
    if (!room.grow(std::min(received_.size(), bytes))) co_return Read::no_room;
    if (received_.size() >= bytes) break;
    const Read read = co_await read_more(deadline);
    if (read != Read::done) co_return read;
  }
  // The memory goes with the body: kept here, a connection would hold its largest one as long as it is open.
  body = std::exchange(received_, std::string(received_, bytes));
  body.resize(bytes);
  co_return Read::done;
}

asio::awaitable<void> Connection::write_secured(std::string_view bytes, Seconds stall) {
  while (!bytes.empty()) {  // a record of TLS each, 16 KiB at most
    write_timer_.expires_at(after(stall));
    const auto outcome =
        co_await (tls_->async_write_some(asio::buffer(bytes.data(), bytes.size()), kAnswer) ||
                  write_timer_.async_wait(kAnswer));
    if (outcome.index() == 1) throw ClientGone("the client takes no more bytes");
    const auto& [error, written] = std::get<0>(outcome);
    if (error) throw ClientGone(error.message());
    bytes.remove_prefix(written);
  }
}

asio::awaitable<void> Connection::write(std::string_view bytes, Seconds stall) {
  if (tls_) {
    co_await write_secured(bytes, stall);
    co_return;
  }
  while (!bytes.empty()) {
    // Almost always the kernel takes it at once, and neither timer nor reactor is needed.
    boost::system::error_code error;
    const size_t written = socket_.write_some(asio::buffer(bytes.data(), bytes.size()), error);
    bytes.remove_prefix(written);
    if (!error) continue;
    if (error != asio::error::would_block && error != asio::error::try_again)
      throw ClientGone(error.message());
    write_timer_.expires_at(after(stall));
    const auto outcome = co_await (socket_.async_wait(asio::socket_base::wait_write, kAnswer) ||
                                   write_timer_.async_wait(kAnswer));
    if (outcome.index() == 1) throw ClientGone("the client takes no more bytes");
  }
}

asio::awaitable<void> Connection::wait_for_close() {
  std::array<char, 4096> bytes;
  while (!ended_ && received_.size() < kSentAheadBytes) {
    const auto [error, count] = co_await read_some(asio::buffer(bytes));
    if (error) {
      ended_ = error != asio::error::operation_aborted;
      co_return;
    }
    received_.append(bytes.data(), count);
  }
  if (ended_) co_return;
  timer_.expires_at(std::chrono::steady_clock::time_point::max());
  co_await timer_.async_wait(kAnswer);
}

asio::awaitable<void> Connection::close() {
  boost::system::error_code ignored;
  const auto deadline = after(Seconds(1));
  if (tls_) {
    timer_.expires_at(deadline);
    co_await (tls_->async_shutdown(kAnswer) || timer_.async_wait(kAnswer));
    tls_.reset();
  }
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  for (size_t discarded = 0; !ignored && discarded < 1024 * 1024; discarded += received_.size()) {
    received_.clear();
    const Read read = co_await read_more(deadline);
    if (read != Read::done) break;
  }
  socket_.close(ignored);
}

}  // namespace batchmax::coordinator
