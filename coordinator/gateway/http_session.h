// One client connection: reads requests one after the other, routes them, and ends each with one answer.
// A coroutine on the event loop; owned by the HttpServer.
#pragma once

#include <algorithm>
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
  // One body of the largest size always has room.
  BodyBytes bodies{static_cast<size_t>(std::max(settings.max_total_body_bytes, settings.max_body_bytes))};
  int32_t requests_open = 0;  // between header and end of the answer
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
  // False where there is none to answer.
  boost::asio::awaitable<bool> read_body(HttpRequest& request, Reply& reply);
  // A body that came in part, or not at all.
  boost::asio::awaitable<void> refuse_body(ApiError error, Reply& reply);
  ApiError no_room();
  boost::asio::awaitable<bool> answer(const Route& route, HttpRequest& request, Reply& reply);
  // What the client is told of a handler's exception. Throws ClientGone on.
  ApiError explain(const std::exception_ptr& failure, const HttpRequest& request, const Reply& reply);

  Connection connection_;
  SessionSurroundings& surroundings_;
  bool first_ = true;
};

}  // namespace batchmax::coordinator
