#include "comm/transport/listener.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>

#include "comm/transport/handshake.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// Accepting fails when descriptors run out; trying again at once would only burn the core.
constexpr std::chrono::milliseconds kPauseAfterFailure{100};

tcp::acceptor open_acceptor(const asio::any_io_executor& executor, const std::string& host, uint16_t port) {
  try {
    tcp::resolver resolver(executor);
    const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    tcp::acceptor acceptor(executor);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen();
    return acceptor;
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen for groups on " + host + ":" + std::to_string(port) + ": " +
                             error.code().message() + "; choose another --worker-host or --worker-port");
  }
}

}  // namespace

class Listener::State : public std::enable_shared_from_this<State> {
 public:
  State(asio::any_io_executor executor, const std::string& host, uint16_t port, std::string secret,
        ListenOptions options, monitoring::Log log)
      : acceptor_(open_acceptor(executor, host, port)),
        pause_(executor),
        port_(acceptor_.local_endpoint().port()),
        secret_(std::move(secret)),
        options_(options),
        log_(std::move(log)) {}

  uint16_t port() const { return port_; }

  void start(std::function<void(std::shared_ptr<Connection>)> on_connection) {
    on_connection_ = std::move(on_connection);
    asio::co_spawn(acceptor_.get_executor(), accept_all(shared_from_this()), asio::detached);
  }

  // A handshake that is under way ends by its own time limit; its connection goes nowhere.
  void close() {
    closed_ = true;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

 private:
  static asio::awaitable<void> accept_all(std::shared_ptr<State> self) {
    while (!self->closed_) {
      boost::system::error_code error;
      tcp::socket socket =
          co_await self->acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (self->closed_) co_return;
      if (error) {
        self->log_.warning("cannot accept a group", {{"reason", error.message()}});
        self->pause_.expires_after(kPauseAfterFailure);
        co_await self->pause_.async_wait(asio::redirect_error(asio::use_awaitable, error));
      } else if (self->pending_ < self->options_.pending_handshakes) {
        ++self->pending_;
        asio::co_spawn(self->acceptor_.get_executor(), greet(self, std::move(socket)), asio::detached);
      }
    }
  }

  static asio::awaitable<void> greet(std::shared_ptr<State> self, tcp::socket socket) {
    std::unique_ptr<Channel> channel;
    try {
      if (self->options_.tls) {
        channel = co_await accept_tls(std::move(socket), self->options_.tls, self->options_.handshake_limit);
      } else {
        channel = make_tcp_channel(std::move(socket));
      }
      co_await shake_hands(*channel, Role::acceptor, self->secret_, self->options_.handshake_limit);
      --self->pending_;
    } catch (const HandshakeError& error) {
      --self->pending_;
      self->log_.warning("refused a connection to the worker port", {{"reason", error.what()}});
      co_return;
    }
    if (self->closed_) co_return;
    self->on_connection_(Connection::make(std::move(channel), self->options_.limits));
  }

  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  const uint16_t port_;
  const std::string secret_;
  const ListenOptions options_;
  const monitoring::Log log_;
  std::function<void(std::shared_ptr<Connection>)> on_connection_;
  int pending_ = 0;
  bool closed_ = false;
};

Listener::Listener(asio::any_io_executor executor, const std::string& host, uint16_t port, std::string secret,
                   ListenOptions options, monitoring::Log log)
    : state_(std::make_shared<State>(std::move(executor), host, port, std::move(secret), options,
                                     std::move(log))) {}

Listener::~Listener() { close(); }
uint16_t Listener::port() const { return state_->port(); }
void Listener::start(std::function<void(std::shared_ptr<Connection>)> on_connection) {
  state_->start(std::move(on_connection));
}
void Listener::close() { state_->close(); }

}  // namespace batchmax::comm
