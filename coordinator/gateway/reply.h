// The answer to one request on its way out: whole, or as a stream. Made by the session; event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "coordinator/gateway/connection.h"
#include "coordinator/gateway/http_message.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

class Reply {
 public:
  struct Options {
    std::string request_id;
    bool http_1_1 = true;
    bool keep_alive = true;
    bool body = true;  // false: HEAD, send() keeps it back
    Seconds stall{15};
  };
  Reply(Connection& connection, monitoring::Metrics& metrics, Options options);

  // Either one send(), or begin_stream(), any number of write(), end(). All throw ClientGone.
  boost::asio::awaitable<void> send(HttpAnswer answer);
  boost::asio::awaitable<void> begin_stream(std::string content_type);
  boost::asio::awaitable<void> write(std::string_view bytes);
  boost::asio::awaitable<void> end();

  const std::string& request_id() const { return options_.request_id; }
  bool started() const { return started_; }
  int status() const { return status_; }  // 0 until started
  // Whether the connection may serve another request after this one.
  bool keep_alive() const { return options_.keep_alive; }
  void close_after() { options_.keep_alive = false; }

 private:
  HttpFields fields(std::string content_type) const;

  Connection& connection_;
  monitoring::Metrics& metrics_;
  Options options_;
  bool started_ = false;
  bool chunked_ = false;
  int status_ = 0;
};

}  // namespace batchmax::coordinator
