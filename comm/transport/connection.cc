#include "comm/transport/connection.h"

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <limits>

#include "monitoring/check.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;

constexpr size_t kPrefixBytes = 4;
// A buffer that one large frame has blown up is not kept for the connection's life.
constexpr size_t kKeptBytes = size_t{1} << 20;

size_t read_prefix(const std::array<unsigned char, kPrefixBytes>& prefix) {
  size_t bytes = 0;
  for (const unsigned char byte : prefix) bytes = bytes << 8 | byte;
  return bytes;
}

asio::awaitable<void> wait(asio::steady_timer& timer) {
  boost::system::error_code cancelled;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

}  // namespace

std::shared_ptr<Connection> Connection::make(std::unique_ptr<Channel> channel, ConnectionLimits limits) {
  return std::shared_ptr<Connection>(new Connection(std::move(channel), limits));
}

Connection::Connection(std::unique_ptr<Channel> channel, ConnectionLimits limits)
    : channel_(std::move(channel)),
      limits_(limits),
      emptied_(channel_->executor(), asio::steady_timer::time_point::max()) {
  CHECK_LE(limits.frame_bytes, static_cast<size_t>(std::numeric_limits<int>::max()));
}

Connection::~Connection() { close(); }

void Connection::close() {
  if (!open_) return;
  open_ = false;
  queue_.clear();
  channel_->close();
  emptied_.cancel();
}

asio::awaitable<pb::Frame> Connection::receive() {
  pb::Frame frame;
  try {
    std::array<unsigned char, kPrefixBytes> prefix{};
    co_await channel_->read_exactly(asio::buffer(prefix));
    const size_t bytes = read_prefix(prefix);
    if (bytes > limits_.frame_bytes) {
      close();
      throw ConnectionError(remote() + " sent a frame of " + std::to_string(bytes) + " bytes; at most " +
                            std::to_string(limits_.frame_bytes) + " are allowed");
    }
    received_.resize(bytes);
    co_await channel_->read_exactly(asio::buffer(received_));
    const bool parsed = frame.ParseFromArray(received_.data(), static_cast<int>(bytes));
    if (!parsed || frame.body_case() == pb::Frame::BODY_NOT_SET) {
      close();
      throw ConnectionError(remote() + " sent a frame that is not readable");
    }
    if (received_.capacity() > kKeptBytes) std::string().swap(received_);
  } catch (const boost::system::system_error& error) {
    const bool closed_here = !open_;
    close();
    throw ConnectionError("connection to " + remote() +
                          (closed_here ? " was closed" : " ended: " + error.code().message()));
  }
  co_return frame;
}

bool Connection::has_room(size_t bytes) const {
  const size_t queued = queue_.size() + writing_.size();
  return queued == 0 || queued + bytes <= limits_.queue_bytes;
}

bool Connection::try_send(const pb::Frame& frame) {
  const size_t bytes = frame.ByteSizeLong();
  CHECK_LE(bytes, limits_.frame_bytes);
  if (!open_ || !has_room(kPrefixBytes + bytes)) return false;
  for (size_t i = kPrefixBytes; i-- > 0;) queue_ += static_cast<char>(bytes >> (8 * i) & 0xff);
  frame.AppendToString(&queue_);
  if (!writing_now_) {
    writing_now_ = true;
    asio::co_spawn(channel_->executor(), write_queue(shared_from_this()), asio::detached);
  }
  return true;
}

asio::awaitable<void> Connection::send(pb::Frame frame) {
  while (!try_send(frame)) {
    if (!open_) throw ConnectionError("connection to " + remote() + " was closed");
    co_await wait(emptied_);
  }
}

asio::awaitable<void> Connection::flush() {
  while (open_ && !(queue_.empty() && writing_.empty())) co_await wait(emptied_);
}

asio::awaitable<void> Connection::write_queue(std::shared_ptr<Connection> self) {
  try {
    while (self->open_ && !self->queue_.empty()) {
      self->writing_.swap(self->queue_);
      co_await self->channel_->write_all(asio::buffer(self->writing_));
      self->writing_.clear();
      if (self->writing_.capacity() > kKeptBytes) std::string().swap(self->writing_);
      self->emptied_.cancel();
    }
  } catch (const boost::system::system_error&) {
    self->close();  // the receiver reports why
  }
  self->writing_now_ = false;
}

}  // namespace batchmax::comm
