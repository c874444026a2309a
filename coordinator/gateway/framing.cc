#include "coordinator/gateway/framing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace batchmax::coordinator {
namespace {

HttpFault bad(std::string message) { return {400, "bad_request", std::move(message)}; }

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<HttpFault> check_request_line(std::string_view line, bool& is_post) {
  const size_t first = line.find(' ');
  const size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return bad("The request line is not 'METHOD /path HTTP/1.1'.");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (method.empty() || method.size() > 16 ||
      !std::all_of(method.begin(), method.end(), [](char c) { return c >= 'A' && c <= 'Z'; })) {
    return bad("The method is not a word of capital letters.");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (version.size() == 8 && version.starts_with("HTTP/") && digit(version[5]) && version[6] == '.' &&
        digit(version[7]))
      return HttpFault{505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here."};
    return bad("The request line is not 'METHOD /path HTTP/1.1'.");
  }
  if (target.empty() || target.front() != '/' || !std::all_of(target.begin(), target.end(), is_visible) ||
      target.find('#') != std::string_view::npos) {
    return bad("The target is not an absolute path of visible ASCII characters.");
  }
  is_post = method == "POST";
  return std::nullopt;
}

// Fields whose meaning depends on there being one of them.
enum Unique { kHost, kLength, kAuthorization, kType, kExpect, kUniqueCount };
constexpr std::array<std::string_view, kUniqueCount> kUniqueNames = {
    "Host", "Content-Length", "Authorization", "Content-Type", "Expect"};

std::optional<HttpFault> check_length(std::string_view value) {
  // 18 digits cannot overflow 64 bits; the body's own limit is far below.
  if (value.empty() || value.size() > 18 ||
      !std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return bad("Content-Length is not one plain decimal number.");
  }
  return std::nullopt;
}

std::optional<HttpFault> check_host(std::string_view value) {
  const auto fits = [](char c) {
    return is_visible(c) && std::string_view("/@,\\?#\"<>").find(c) == std::string_view::npos;
  };
  if (value.empty() || !std::all_of(value.begin(), value.end(), fits)) return bad("Host is not a host name.");
  return std::nullopt;
}

std::optional<HttpFault> check_field(std::string_view line, std::array<int, kUniqueCount>& seen) {
  if (line.front() == ' ' || line.front() == '\t') return bad("A header field is folded over several lines.");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return bad("A header field has no name.");
  const std::string_view name = line.substr(0, colon);
  if (!std::all_of(name.begin(), name.end(), is_token_character)) {
    return bad("The name of a header field holds a character that may not stand there.");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) return bad("A header field holds a control character.");
  }
  if (equal_ignoring_case(name, "Transfer-Encoding")) {
    return HttpFault{411, "length_required",
                     "Transfer-Encoding is not taken: send the body with Content-Length."};
  }
  for (size_t i = 0; i < kUniqueNames.size(); ++i) {
    if (equal_ignoring_case(name, kUniqueNames[i]) && ++seen[i] > 1) {
      return bad(fmt::format("More than one {}.", kUniqueNames[i]));
    }
  }
  if (equal_ignoring_case(name, "Content-Length")) return check_length(value);
  if (equal_ignoring_case(name, "Host")) return check_host(value);
  return std::nullopt;
}

}  // namespace

std::optional<HttpFault> check_framing(std::string_view head, int32_t max_fields) {
  bool is_post = false;
  std::array<int, kUniqueCount> seen{};
  int32_t fields = -1;  // the request line is none
  for (;;) {
    const size_t end = head.find("\r\n");
    if (end == std::string_view::npos) return bad("A header line does not end with CR LF.");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.find_first_of("\r\n") != std::string_view::npos)
      return bad("A header line does not end with CR LF.");
    if (fields < 0) {
      if (auto fault = check_request_line(line, is_post)) return fault;
    } else if (line.empty()) {
      break;
    } else if (fields >= max_fields) {
      return HttpFault{431, "header_too_large", fmt::format("More than {} header fields.", max_fields)};
    } else if (auto fault = check_field(line, seen)) {
      return fault;
    }
    ++fields;
  }
  if (seen[kHost] != 1) return bad("There must be one Host.");
  if (is_post && seen[kLength] != 1) {
    return HttpFault{411, "length_required", "POST needs one Content-Length."};
  }
  return std::nullopt;
}

}  // namespace batchmax::coordinator
