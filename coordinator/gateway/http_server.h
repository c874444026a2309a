// Accepts client connections up to a cap and owns their sessions. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <list>
#include <memory>

#include "coordinator/gateway/http_session.h"

namespace batchmax::coordinator {

class HttpServer {
 public:
  HttpServer(boost::asio::any_io_executor executor, const RouteTable& routes,
             const config::Settings& settings, monitoring::Metrics& metrics, monitoring::Log log,
             RandomSource& random, std::shared_ptr<boost::asio::ssl::context> tls);
  ~HttpServer();  // REQUIRES: closed, or its event loop will not run again

  // Binds settings.host:settings.port and begins to accept; returns the port. Throws std::runtime_error
  // saying what to do.
  uint16_t listen();

  void drain();                   // connections close after the answer they are busy with
  int32_t requests_open() const;  // being read or answered now
  // Ends every connection at once and stops accepting.
  void close();
  size_t connections() const { return sessions_.size(); }

 private:
  struct Entry {
    boost::asio::cancellation_signal stop;
  };
  boost::asio::awaitable<void> accept_loop();
  void start(boost::asio::ip::tcp::socket socket);
  void turn_away(boost::asio::ip::tcp::socket& socket);

  boost::asio::any_io_executor executor_;
  SessionSurroundings surroundings_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  boost::asio::cancellation_signal stop_accepting_;
  std::list<Entry> sessions_;
};

}  // namespace batchmax::coordinator
