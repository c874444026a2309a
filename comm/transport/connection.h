// Frames to and from one peer whose handshake is done. On the wire: 4 bytes of length, big-endian, then the
// protobuf Frame. Lives on its executor's one thread; held by shared_ptr, and whoever waits in a member must
// hold one. One coroutine receives; any number send.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include "comm/protocol/messages.pb.h"
#include "comm/transport/channel.h"

namespace batchmax::comm {

struct ConnectionLimits {
  size_t frame_bytes = size_t{64} << 20;  // a longer frame ends the connection before memory is taken for it
  size_t queue_bytes = size_t{64} << 20;  // written frames the peer has not taken yet; one frame always fits
};

// The peer broke the protocol (an oversized or unreadable frame) or is gone. The message names it and the
// reason.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Close it before dropping it: a dropped one ends only when its queue is written.
  static std::shared_ptr<Connection> make(std::unique_ptr<Channel> channel, ConnectionLimits limits);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The next frame. Throws ConnectionError; the connection is closed then.
  boost::asio::awaitable<pb::Frame> receive();

  // Queues a frame. False: the queue is full or the connection closed, nothing was queued.
  // Frames leave in the order of these calls. CHECKs that the frame obeys frame_bytes.
  bool try_send(const pb::Frame& frame);
  // The same, waiting for room in the queue. Throws ConnectionError once the connection is closed.
  boost::asio::awaitable<void> send(pb::Frame frame);
  // Waits until the kernel has taken every queued frame, or the connection is closed.
  boost::asio::awaitable<void> flush();

  // Idempotent. Queued frames are dropped, waiting members throw.
  void close();
  bool open() const { return open_; }
  const std::string& remote() const { return channel_->remote(); }
  boost::asio::any_io_executor executor() { return channel_->executor(); }

 private:
  Connection(std::unique_ptr<Channel> channel, ConnectionLimits limits);
  static boost::asio::awaitable<void> write_queue(std::shared_ptr<Connection> self);
  bool has_room(size_t bytes) const;

  std::unique_ptr<Channel> channel_;
  const ConnectionLimits limits_;
  bool open_ = true;
  std::string queue_;    // encoded frames
  std::string writing_;  // being written
  std::string received_;
  bool writing_now_ = false;           // write_queue() runs; it holds the connection
  boost::asio::steady_timer emptied_;  // never expires by itself: cancelled to wake who waits
};

}  // namespace batchmax::comm
