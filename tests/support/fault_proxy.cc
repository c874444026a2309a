#include "tests/support/fault_proxy.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <optional>

namespace batchmax::testing {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

tcp::endpoint loopback(uint16_t port) { return {asio::ip::address_v4::loopback(), port}; }

void reset(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

}  // namespace

struct FaultProxy::Link {
  explicit Link(tcp::socket from) : client(std::move(from)), server(client.get_executor()) {}
  tcp::socket client, server;
  bool silent = false;               // what comes is thrown away
  std::optional<size_t> bytes_left;  // then it is cut
  size_t one_by_one = 0;
  Clock::time_point held_until{};
  bool open = true;

  void close() {
    open = false;
    reset(client);
    reset(server);
  }
};

class FaultProxy::State {
 public:
  State(asio::any_io_executor executor, uint16_t target)
      : executor_(std::move(executor)), target_(target), acceptor_(executor_, loopback(0)) {}

  static asio::awaitable<void> accept(std::shared_ptr<State> self) {
    for (;;) {
      boost::system::error_code error;
      auto link = std::make_shared<Link>(
          co_await self->acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error)));
      if (error) co_return;
      self->links_.push_back(link);
      asio::co_spawn(self->executor_, connect(self, link), asio::detached);
    }
  }
  std::vector<std::shared_ptr<Link>> links() {
    std::erase_if(links_, [](const auto& link) { return !link->open; });
    return links_;
  }
  void end() {
    acceptor_.close();
    for (const auto& link : links()) link->close();
  }
  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  const asio::any_io_executor& executor() const { return executor_; }

 private:
  static asio::awaitable<void> connect(std::shared_ptr<State> self, std::shared_ptr<Link> link) {
    boost::system::error_code error;
    co_await link->server.async_connect(loopback(self->target_),
                                        asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return link->close();
    link->server.set_option(tcp::no_delay(true), error);
    link->client.set_option(tcp::no_delay(true), error);
    asio::co_spawn(self->executor_, pump(link, link->client, link->server), asio::detached);
    asio::co_spawn(self->executor_, pump(link, link->server, link->client), asio::detached);
  }

  // The sockets are the link's.
  static asio::awaitable<void> pump(std::shared_ptr<Link> link, tcp::socket& from, tcp::socket& to) {
    std::array<char, 4096> bytes;
    asio::steady_timer timer(from.get_executor());
    boost::system::error_code error;
    const auto token = [&error] { return asio::redirect_error(asio::use_awaitable, error); };
    while (link->open) {
      size_t count = co_await from.async_read_some(asio::buffer(bytes), token());
      while (link->open && Clock::now() < link->held_until) {
        timer.expires_at(link->held_until);
        co_await timer.async_wait(token());
      }
      if (link->silent) {
        if (error) co_return;  // nobody is told; the link's timer resets both sides
        continue;
      }
      if (error) break;
      const bool last = link->bytes_left && *link->bytes_left <= count;
      if (last) count = *link->bytes_left;
      if (link->bytes_left) *link->bytes_left -= count;
      for (size_t sent = 0; sent < count && !error;) {
        const size_t piece = link->one_by_one > 0 ? 1 : count - sent;
        co_await asio::async_write(to, asio::buffer(bytes.data() + sent, piece), token());
        sent += piece;
        if (link->one_by_one > 0) --link->one_by_one;
      }
      if (error || last) break;
    }
    link->close();
  }

  const asio::any_io_executor executor_;
  const uint16_t target_;
  tcp::acceptor acceptor_;
  std::vector<std::shared_ptr<Link>> links_;
};

FaultProxy::FaultProxy(asio::any_io_executor executor, uint16_t target)
    : state_(std::make_shared<State>(std::move(executor), target)) {
  asio::co_spawn(state_->executor(), State::accept(state_), asio::detached);
}
FaultProxy::~FaultProxy() { state_->end(); }

uint16_t FaultProxy::port() const { return state_->port(); }

void FaultProxy::cut() {
  for (const auto& link : state_->links()) link->close();
}
void FaultProxy::cut_within(size_t bytes) {
  for (const auto& link : state_->links()) link->bytes_left = bytes;
}
void FaultProxy::half_open(std::chrono::milliseconds time) {
  for (const auto& link : state_->links()) {
    link->silent = true;
    auto timer = std::make_shared<asio::steady_timer>(state_->executor(), time);
    timer->async_wait([link, timer](const boost::system::error_code&) { link->close(); });
  }
}
void FaultProxy::delay(std::chrono::milliseconds time) {
  for (const auto& link : state_->links()) link->held_until = Clock::now() + time;
}
void FaultProxy::dribble(size_t bytes) {
  for (const auto& link : state_->links()) link->one_by_one = bytes;
}

}  // namespace batchmax::testing
