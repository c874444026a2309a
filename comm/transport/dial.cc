#include "comm/transport/dial.h"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

#include "comm/transport/handshake.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// One try to connect. Throws boost::system::system_error.
asio::awaitable<tcp::socket> connect(const std::string& host, uint16_t port,
                                     std::chrono::milliseconds time_limit) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  const auto endpoints = co_await resolver.async_resolve(host, std::to_string(port), asio::use_awaitable);
  tcp::socket socket(executor);
  auto expired = std::make_shared<bool>(false);
  asio::steady_timer timer(executor, time_limit);
  timer.async_wait([&socket, expired](const boost::system::error_code& error) {
    if (error || *expired) return;  // *expired: the try is over, the socket has moved on
    *expired = true;
    boost::system::error_code ignored;
    socket.close(ignored);
  });
  boost::system::error_code failed;
  co_await asio::async_connect(socket, endpoints, asio::redirect_error(asio::use_awaitable, failed));
  const bool too_slow = *expired;
  *expired = true;
  timer.cancel();
  if (too_slow) throw boost::system::system_error(asio::error::timed_out);
  if (failed) throw boost::system::system_error(failed);
  co_return socket;
}

struct Try {
  std::shared_ptr<Connection> connection;  // empty: failed
  std::string why;
};

asio::awaitable<Try> try_once(const std::string& host, uint16_t port, const std::string& secret,
                              const DialOptions& options) {
  Try result;
  try {
    tcp::socket socket = co_await connect(host, port, options.connect_limit);
    std::unique_ptr<Channel> channel;
    if (options.tls) {
      channel = co_await dial_tls(std::move(socket), options.tls, options.tls_name, options.handshake_limit);
    } else {
      channel = make_tcp_channel(std::move(socket));
    }
    co_await shake_hands(*channel, Role::dialer, secret, options.handshake_limit);
    result.connection = Connection::make(std::move(channel), options.limits);
  } catch (const boost::system::system_error& error) {
    result.why = error.code().message();
  } catch (const HandshakeError& error) {
    if (error.kind() == HandshakeError::Kind::secret_mismatch ||
        error.kind() == HandshakeError::Kind::untrusted) {
      throw;
    }
    result.why = error.what();
  }
  co_return result;
}

}  // namespace

asio::awaitable<std::shared_ptr<Connection>> dial(std::string host, uint16_t port, std::string secret,
                                                  DialOptions options, monitoring::Log log) {
  const auto give_up = std::chrono::steady_clock::now() + options.redial_for;
  std::chrono::milliseconds pause = options.first_pause;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (int tries = 1;; ++tries) {
    Try result = co_await try_once(host, port, secret, options);
    if (result.connection) co_return std::move(result.connection);
    const auto left = give_up - std::chrono::steady_clock::now();
    if (left <= pause) {
      throw std::runtime_error("no coordinator at " + host + ":" + std::to_string(port) + " (" + result.why +
                               "): start it first, or check --worker-host and --worker-port");
    }
    if (tries == 1) {
      log.info("coordinator does not answer yet", {{"host", host}, {"port", port}, {"reason", result.why}});
    }
    timer.expires_after(pause);
    co_await timer.async_wait(asio::use_awaitable);
    pause = std::min(2 * pause, options.longest_pause);
  }
}

}  // namespace batchmax::comm
