#include "coordinator/gateway/http_server.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>

namespace batchmax::coordinator {

namespace asio = boost::asio;
using asio::ip::tcp;

HttpServer::HttpServer(asio::any_io_executor executor, const RouteTable& routes,
                       const config::Settings& settings, monitoring::Metrics& metrics, monitoring::Log log,
                       RandomSource& random, std::shared_ptr<asio::ssl::context> tls)
    : executor_(std::move(executor)),
      surroundings_{routes, settings, metrics, std::move(log), random, std::move(tls)},
      acceptor_(executor_),
      retry_(executor_) {}

HttpServer::~HttpServer() = default;

uint16_t HttpServer::listen() {
  const config::Settings& settings = surroundings_.settings;
  const std::string where = fmt::format("{}:{}", settings.host, settings.port);
  try {
    tcp::resolver resolver(executor_);
    const auto found = resolver.resolve(settings.host, std::to_string(settings.port), tcp::resolver::passive);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(asio::socket_base::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(asio::socket_base::max_listen_connections);
  } catch (const boost::system::system_error& error) {
    const bool taken = error.code() == asio::error::address_in_use;
    throw std::runtime_error(
        fmt::format("cannot listen on {}: {}; {}", where, error.code().message(),
                    taken ? "end the program that uses the port or choose another with --port"
                          : "give an address of this machine with --host and --port"));
  }
  asio::co_spawn(executor_, accept_loop(),
                 asio::bind_cancellation_slot(stop_accepting_.slot(), [](const std::exception_ptr&) {}));
  return acceptor_.local_endpoint().port();
}

void HttpServer::drain() { surroundings_.draining = true; }

int32_t HttpServer::requests_open() const { return surroundings_.requests_open; }

void HttpServer::close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  stop_accepting_.emit(asio::cancellation_type::terminal);
  // A session that ends at once takes itself off the list.
  for (auto next = sessions_.begin(); next != sessions_.end();) {
    auto& entry = *next++;
    entry.stop.emit(asio::cancellation_type::terminal);
  }
}

asio::awaitable<void> HttpServer::accept_loop() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(asio::as_tuple(asio::use_awaitable));
    if (!error) {
      start(std::move(socket));
      continue;
    }
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    // Out of descriptors, most likely: the backlog keeps the others waiting.
    surroundings_.log.warning("cannot accept a connection", {{"reason", error.message()}});
    retry_.expires_after(std::chrono::milliseconds(100));
    co_await retry_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void HttpServer::start(tcp::socket socket) {
  if (sessions_.size() >= static_cast<size_t>(surroundings_.settings.max_connections)) {
    surroundings_.metrics.http_response(503);
    return turn_away(socket);
  }
  const auto entry = sessions_.emplace(sessions_.end());
  auto session = std::make_unique<HttpSession>(std::move(socket), surroundings_);
  auto run = [](std::unique_ptr<HttpSession> owned) -> asio::awaitable<void> { co_await owned->run(); };
  asio::co_spawn(
      executor_, run(std::move(session)),
      asio::bind_cancellation_slot(entry->stop.slot(), [this, entry](const std::exception_ptr& failure) {
        sessions_.erase(entry);
        if (!failure) return;
        try {
          std::rethrow_exception(failure);
        } catch (const boost::system::system_error& error) {
          if (error.code() != asio::error::operation_aborted) {
            surroundings_.log.error("connection failed", {{"reason", error.what()}});
          }
        } catch (const std::exception& error) {
          surroundings_.log.error("connection failed", {{"reason", error.what()}});
        }
      }));
}

void HttpServer::turn_away(tcp::socket& socket) {
  HttpAnswer answer = error_answer({503, "too_many_connections", "Too many connections are open.", "",
                                    surroundings_.random.retry_after()});
  HttpFields fields = {{"Content-Type", answer.content_type},
                       {"x-request-id", surroundings_.random.id()},
                       {"Connection", "close"},
                       {"Content-Length", std::to_string(answer.body.size())}};
  fields.insert(fields.end(), answer.fields.begin(), answer.fields.end());
  const std::string bytes = render_head(answer.status, fields) + answer.body;
  boost::system::error_code ignored;
  socket.non_blocking(true, ignored);
  // A handshake would cost what the cap saves: with TLS the connection just ends.
  if (!surroundings_.tls) socket.write_some(asio::buffer(bytes), ignored);
  socket.shutdown(asio::socket_base::shutdown_send, ignored);
}

}  // namespace batchmax::coordinator
