#include "coordinator/gateway/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/status.hpp>
#include <charconv>
#include <limits>

#include "coordinator/gateway/framing.h"

namespace batchmax::coordinator {
namespace {

namespace http = boost::beast::http;

std::string field(const http::request_header<>& head, http::field name) {
  const auto value = head[name];
  return {value.data(), value.size()};
}

}  // namespace

std::variant<HttpRequest, HttpFault> parse_head(std::string_view head, int32_t max_fields) {
  if (auto fault = check_framing(head, max_fields)) return *std::move(fault);

  http::request_parser<http::buffer_body> parser;
  parser.header_limit(std::numeric_limits<uint32_t>::max());  // the caller has capped it
  parser.body_limit(std::numeric_limits<uint64_t>::max());
  boost::system::error_code error;
  parser.put(boost::asio::const_buffer(head.data(), head.size()), error);
  if ((error && error != http::error::need_buffer) || !parser.is_header_done()) {
    return HttpFault{400, "bad_request", "The request's header is malformed."};
  }
  const auto& parsed = parser.get();

  HttpRequest request;
  request.method = std::string(parsed.method_string());
  const auto target = parsed.target();
  request.path = std::string(target.substr(0, target.find('?')));
  request.http_1_1 = parsed.version() == 11;
  // HTTP/1.0 keep-alive is not offered: nothing that needs it is still around.
  request.keep_alive = request.http_1_1 && !http::token_list(parsed[http::field::connection]).exists("close");
  const std::string length = field(parsed, http::field::content_length);
  if (!length.empty()) {
    uint64_t value = 0;
    std::from_chars(length.data(), length.data() + length.size(), value);
    request.content_length = value;
  }
  const std::string expect = field(parsed, http::field::expect);
  if (!expect.empty()) {
    if (!boost::beast::iequals(expect, "100-continue")) {
      return HttpFault{417, "expectation_failed", "Only 'Expect: 100-continue' is understood."};
    }
    request.expects_continue = request.http_1_1;
  }
  request.authorization = field(parsed, http::field::authorization);
  request.content_type = field(parsed, http::field::content_type);
  request.content_encoding = field(parsed, http::field::content_encoding);
  const auto id = parsed["x-request-id"];
  if (!id.empty() && id.size() <= 128 &&
      std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; })) {
    request.request_id = std::string(id);
  }
  return request;
}

std::string render_head(int status, const HttpFields& fields) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\n", status, std::string_view(reason.data(), reason.size()));
  for (const auto& [name, value] : fields) {
    text += name;
    text += ": ";
    text += value;
    text += "\r\n";
  }
  text += "\r\n";
  return text;
}

}  // namespace batchmax::coordinator
