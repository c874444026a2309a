#include "coordinator/gateway/http_session.h"

#include <fmt/format.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "coordinator/gateway/work_pool.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using boost::asio::experimental::awaitable_operators::operator||;

class Counted {
 public:
  explicit Counted(int32_t& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  int32_t& count_;
};

bool is_json(std::string_view content_type) {
  constexpr std::string_view kJson = "application/json";
  if (content_type.size() < kJson.size()) return false;
  for (size_t i = 0; i < kJson.size(); ++i) {
    const char c = content_type[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != kJson[i]) return false;
  }
  const std::string_view rest = content_type.substr(kJson.size());
  return rest.empty() || rest.front() == ';' || rest.front() == ' ' || rest.front() == '\t';
}

std::optional<ApiError> check_body_head(const HttpRequest& request, const config::Settings& settings) {
  const uint64_t length = request.content_length.value_or(0);
  if (request.method != "POST") {
    if (length == 0) return std::nullopt;
    return ApiError{400, "bad_request", fmt::format("{} takes no body.", request.method), "", 0};
  }
  if (length > static_cast<uint64_t>(settings.max_body_bytes)) {
    return ApiError{413, "body_too_large",
                    fmt::format("The body of {} bytes is larger than {}.", length, settings.max_body_bytes),
                    "", 0};
  }
  if (!is_json(request.content_type)) {
    return ApiError{415, "unsupported_media_type",
                    "The body must be JSON: send 'Content-Type: application/json'.", "", 0};
  }
  if (!request.content_encoding.empty() && request.content_encoding != "identity") {
    return ApiError{415, "unsupported_media_type",
                    "The body must not be compressed: leave Content-Encoding out.", "", 0};
  }
  return std::nullopt;
}

// Ends normally whatever happens, so that the watch beside it ends too.
asio::awaitable<void> run_guarded(const Handler& handler, HttpRequest& request, Reply& reply,
                                  std::exception_ptr& failure) {
  try {
    co_await handler(request, reply);
  } catch (...) {
    failure = std::current_exception();
  }
}

}  // namespace

HttpSession::HttpSession(asio::ip::tcp::socket socket, SessionSurroundings& surroundings)
    : connection_(std::move(socket), surroundings.settings.stream_buffer_bytes),
      surroundings_(surroundings) {}

asio::awaitable<void> HttpSession::run() {
  try {
    bool more = true;
    if (surroundings_.tls) {
      more = co_await connection_.secure(*surroundings_.tls, Seconds(surroundings_.settings.header_timeout));
      if (!more) surroundings_.log.debug("no TLS handshake");
    }
    while (more) more = co_await serve_next();
  } catch (const ClientGone& gone) {
    surroundings_.log.debug("client gone", {{"reason", gone.what()}});
  }
  co_await connection_.close();
}

asio::awaitable<bool> HttpSession::serve_next() {
  const config::Settings& settings = surroundings_.settings;
  // Who connects has something to say: the longer wait is for the next request only.
  const Seconds idle(first_ ? settings.header_timeout : settings.idle_timeout);
  first_ = false;
  std::string head;
  const auto read = co_await connection_.read_head(head, static_cast<size_t>(settings.max_header_bytes), idle,
                                                   Seconds(settings.header_timeout));
  switch (read) {
    case Connection::Read::closed:
    case Connection::Read::idle:
      co_return false;
    case Connection::Read::timed_out: {
      HttpFault fault{408, "request_timeout",
                      fmt::format("The header took longer than {} s.", settings.header_timeout)};
      const bool more = co_await refuse(std::move(fault));
      co_return more;
    }
    case Connection::Read::too_large: {
      HttpFault fault{431, "header_too_large",
                      fmt::format("The header is longer than {} bytes.", settings.max_header_bytes)};
      const bool more = co_await refuse(std::move(fault));
      co_return more;
    }
    case Connection::Read::no_room:  // of bodies only
    case Connection::Read::done:
      break;
  }
  auto parsed = parse_head(head, settings.max_header_fields);
  bool more = false;
  if (auto* fault = std::get_if<HttpFault>(&parsed)) {
    more = co_await refuse(std::move(*fault));
  } else {
    more = co_await serve(std::get<HttpRequest>(std::move(parsed)));
  }
  co_return more;
}

asio::awaitable<bool> HttpSession::refuse(HttpFault fault) {
  Reply::Options options;
  options.request_id = surroundings_.random.id();
  options.keep_alive = false;
  options.stall = Seconds(surroundings_.settings.stream_stall_timeout);
  Reply reply(connection_, surroundings_.metrics, std::move(options));
  surroundings_.log.debug("request refused", {{"status", fault.status}, {"reason", fault.message}});
  HttpAnswer answer = error_answer(error_of(fault));
  co_await reply.send(std::move(answer));
  co_return false;
}

asio::awaitable<bool> HttpSession::serve(HttpRequest request) {
  const Counted open(surroundings_.requests_open);
  Reply::Options options;
  options.request_id = request.request_id.empty() ? surroundings_.random.id() : request.request_id;
  options.http_1_1 = request.http_1_1;
  options.keep_alive = request.keep_alive && !surroundings_.draining;
  options.stall = Seconds(surroundings_.settings.stream_stall_timeout);
  options.body = request.method != "HEAD";
  if (!options.body) request.method = "GET";
  Reply reply(connection_, surroundings_.metrics, std::move(options));

  const auto found = surroundings_.routes.find(request);
  std::optional<ApiError> error;
  if (const auto* wrong = std::get_if<ApiError>(&found)) {
    error = *wrong;
  } else {
    error = check_body_head(request, surroundings_.settings);
  }
  if (error) {
    // A body that nobody will read stands before the next request.
    if (request.content_length.value_or(0) > 0) reply.close_after();
    HttpAnswer refusal = error_answer(*error);
    if (error->status == 405)
      refusal.fields.emplace_back("Allow", surroundings_.routes.allowed(request.path));
    co_await reply.send(std::move(refusal));
    co_return reply.keep_alive();
  }
  const bool complete = co_await read_body(request, reply);
  if (!complete) co_return false;
  const bool more = co_await answer(*std::get<const Route*>(found), request, reply);
  co_return more;
}

asio::awaitable<bool> HttpSession::read_body(HttpRequest& request, Reply& reply) {
  const uint64_t length = request.content_length.value_or(0);
  if (length == 0) co_return true;
  request.body_room = std::make_shared<BodyRoom>(surroundings_.bodies);
  if (!request.body_room->fits(length)) {
    co_await refuse_body(no_room(), reply);
    co_return false;
  }
  if (request.expects_continue) {
    co_await connection_.write("HTTP/1.1 100 Continue\r\n\r\n",
                               Seconds(surroundings_.settings.stream_stall_timeout));
  }
  const auto read = co_await connection_.read_body(
      request.body, length, Seconds(surroundings_.settings.body_timeout), *request.body_room);
  if (read == Connection::Read::no_room) co_await refuse_body(no_room(), reply);
  if (read == Connection::Read::timed_out) {
    ApiError error{408, "request_timeout",
                   fmt::format("The body took longer than {} s.", surroundings_.settings.body_timeout), "",
                   0};
    co_await refuse_body(std::move(error), reply);
  }
  co_return read == Connection::Read::done;
}

ApiError HttpSession::no_room() {
  return {503, "too_many_bytes",
          "The requests that are being read are too large together: send this one again later.", "",
          surroundings_.random.retry_after()};
}

asio::awaitable<void> HttpSession::refuse_body(ApiError error, Reply& reply) {
  reply.close_after();
  HttpAnswer refusal = error_answer(error);
  co_await reply.send(std::move(refusal));
}

ApiError HttpSession::explain(const std::exception_ptr& failure, const HttpRequest& request,
                              const Reply& reply) {
  std::string reason;
  try {
    std::rethrow_exception(failure);
  } catch (const ClientGone&) {
    throw;
  } catch (const PoolClosed&) {
    return {503, "draining", "The server is shutting down.", "", surroundings_.random.retry_after()};
  } catch (const std::exception& error) {
    reason = error.what();
  }
  surroundings_.log.error("request failed",
                          {{"request_id", reply.request_id()}, {"path", request.path}, {"reason", reason}});
  return {500, "internal_error", "The server failed; its log says why, under this request's x-request-id.",
          "", 0};
}

asio::awaitable<bool> HttpSession::answer(const Route& route, HttpRequest& request, Reply& reply) {
  std::exception_ptr failure;
  const auto outcome =
      co_await (run_guarded(route.handler, request, reply, failure) || connection_.wait_for_close());
  if (outcome.index() == 1) {
    surroundings_.log.debug("client left", {{"request_id", reply.request_id()}, {"path", request.path}});
    co_return false;
  }
  if (failure) {
    const ApiError error = explain(failure, request, reply);
    reply.close_after();
    if (!reply.started()) {
      HttpAnswer refusal = error_answer(error);
      co_await reply.send(std::move(refusal));
    }
    co_return false;
  }
  surroundings_.log.debug("request", {{"request_id", reply.request_id()},
                                      {"method", request.method},
                                      {"path", request.path},
                                      {"status", reply.status()}});
  co_return reply.keep_alive() && !surroundings_.draining;
}

}  // namespace batchmax::coordinator
