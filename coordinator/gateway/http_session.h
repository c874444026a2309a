// One client connection: reads requests one after the other, routes them, and ends each with one answer.
// A coroutine on the event loop; owned by the HttpServer.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <exception>
#include <memory>

#include "config/settings.h"
#include "coordinator/gateway/connection.h"
#include "coordinator/gateway/random_source.h"
#include "coordinator/gateway/route_table.h"
#include "monitoring/log.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

// What all sessions share; owned by the HttpServer and outlives them.
struct SessionSurroundings {
  const RouteTable& routes;
  const config::Settings& settings;
  monitoring::Metrics& metrics;
  monitoring::Log log;
  RandomSource& random;
  std::shared_ptr<boost::asio::ssl::context> tls;  // null: plain HTTP
  bool draining = false;                           // connections close after their answer
  int32_t requests_open = 0;                       // between header and end of the answer
};

class HttpSession {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, SessionSurroundings& surroundings);

  // Until the client or an error ends the connection. Throws operation_aborted when cancelled.
  boost::asio::awaitable<void> run();

 private:
  // False: the connection is to be closed.
  boost::asio::awaitable<bool> serve_next();
  boost::asio::awaitable<bool> serve(HttpRequest request);
  boost::asio::awaitable<bool> refuse(HttpFault fault);
  boost::asio::awaitable<bool> read_body(HttpRequest& request, Reply& reply);
  boost::asio::awaitable<bool> answer(const Route& route, const HttpRequest& request, Reply& reply);
  // What the client is told of a handler's exception. Throws ClientGone on.
  ApiError explain(const std::exception_ptr& failure, const HttpRequest& request, const Reply& reply);

  Connection connection_;
  SessionSurroundings& surroundings_;
  bool first_ = true;
};

}  // namespace batchmax::coordinator
