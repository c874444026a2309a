// One HTTP request and one answer as values; and the only file that knows the HTTP parser. Pure, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/gateway/body_room.h"

namespace batchmax::coordinator {

struct HttpRequest {
  std::string method;
  std::string path;  // the target without its query; not percent-decoded: no path of ours needs it
  bool http_1_1 = true;
  bool keep_alive = true;
  bool expects_continue = false;
  std::optional<uint64_t> content_length;
  std::string authorization;
  std::string content_type;
  std::string content_encoding;
  std::string request_id;  // x-request-id where it is 1 to 128 visible ASCII characters, else empty
  std::string body;
  std::shared_ptr<BodyRoom> body_room;  // counts the body; null: there is none

  // What has been read need not be kept while it is answered.
  void drop_body() {
    body = {};
    body_room.reset();
  }
};

// A request that cannot be understood: answered once, then the connection closes.
struct HttpFault {
  int status;
  std::string code;
  std::string message;
};

// head: everything up to and including the empty line. Framing is checked first (framing.h).
std::variant<HttpRequest, HttpFault> parse_head(std::string_view head, int32_t max_fields);

using HttpFields = std::vector<std::pair<std::string, std::string>>;

struct HttpAnswer {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpFields fields;
};

// Status line and fields up to and including the empty line. Values must hold no control characters.
std::string render_head(int status, const HttpFields& fields);

}  // namespace batchmax::coordinator
