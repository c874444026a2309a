#include "coordinator/gateway/reply.h"

#include <fmt/format.h>

#include "monitoring/check.h"

namespace batchmax::coordinator {

namespace asio = boost::asio;

Reply::Reply(Connection& connection, monitoring::Metrics& metrics, Options options)
    : connection_(connection), metrics_(metrics), options_(std::move(options)) {}

HttpFields Reply::fields(std::string content_type) const {
  HttpFields made;
  made.emplace_back("Content-Type", std::move(content_type));
  made.emplace_back("x-request-id", options_.request_id);
  if (!options_.keep_alive) made.emplace_back("Connection", "close");
  return made;
}

asio::awaitable<void> Reply::send(HttpAnswer answer) {
  CHECK(!started_);
  started_ = true;
  status_ = answer.status;
  metrics_.http_response(answer.status);
  HttpFields head = fields(std::move(answer.content_type));
  head.emplace_back("Content-Length", std::to_string(answer.body.size()));
  head.insert(head.end(), answer.fields.begin(), answer.fields.end());
  const std::string bytes = render_head(answer.status, head) + (options_.body ? answer.body : "");
  co_await connection_.write(bytes, options_.stall);
}

asio::awaitable<void> Reply::begin_stream(std::string content_type) {
  CHECK(!started_);
  started_ = true;
  status_ = 200;
  metrics_.http_response(200);
  chunked_ = options_.http_1_1;  // HTTP/1.0: the end of the connection is the end of the body
  HttpFields head = fields(std::move(content_type));
  head.emplace_back("Cache-Control", "no-cache");
  head.emplace_back("X-Accel-Buffering", "no");
  if (chunked_) head.emplace_back("Transfer-Encoding", "chunked");
  const std::string bytes = render_head(200, head);
  co_await connection_.write(bytes, options_.stall);
}

asio::awaitable<void> Reply::write(std::string_view bytes) {
  CHECK(started_);
  if (bytes.empty()) co_return;
  if (!chunked_) {
    co_await connection_.write(bytes, options_.stall);
    co_return;
  }
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
  co_await connection_.write(chunk, options_.stall);
}

asio::awaitable<void> Reply::end() {
  CHECK(started_);
  if (chunked_) co_await connection_.write("0\r\n\r\n", options_.stall);
}

}  // namespace batchmax::coordinator
