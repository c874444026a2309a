// Closes a Channel when time is up, so that whatever waits on it ends with an exception. Stops with its
// scope.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

#include "comm/transport/channel.h"

namespace batchmax::comm {

class Deadline {
 public:
  Deadline(Channel& channel, std::chrono::milliseconds after)
      : timer_(channel.executor(), after), watched_(std::make_shared<Watched>(&channel)) {
    timer_.async_wait([watched = watched_](const boost::system::error_code& error) {
      if (error || watched->channel == nullptr) return;
      watched->expired = true;
      watched->channel->close();
    });
  }
  ~Deadline() { watched_->channel = nullptr; }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  bool expired() const { return watched_->expired; }

 private:
  struct Watched {
    explicit Watched(Channel* c) : channel(c) {}
    Channel* channel;
    bool expired = false;
  };
  boost::asio::steady_timer timer_;
  std::shared_ptr<Watched> watched_;
};

}  // namespace batchmax::comm
