// Where a request ends must be beyond doubt: the corpus of ways in which it could be in doubt.
#include <gtest/gtest.h>

#include "coordinator/gateway/http_message.h"

namespace batchmax::coordinator {
namespace {

// Status of the refusal, 0 where the head is taken.
int status_of(const std::string& head) {
  const auto outcome = parse_head(head, 100);
  const auto* fault = std::get_if<HttpFault>(&outcome);
  return fault == nullptr ? 0 : fault->status;
}

std::string post(const std::string& fields) {
  return "POST /v1/completions HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
std::string get(const std::string& fields) { return "GET /livez HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"; }

struct Case {
  const char* what;
  std::string head;
  int status;
};

TEST(Framing, RefusesWhateverCouldBeReadInTwoWays) {
  const std::vector<Case> cases = {
      {"plain post", post("Content-Length: 5\r\n"), 0},
      {"plain get", get(""), 0},
      {"get with an empty body", get("Content-Length: 0\r\n"), 0},
      {"host with port", "GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", 0},
      {"query", "GET /livez?x=%20&y HTTP/1.1\r\nHost: a\r\n\r\n", 0},
      {"value of bytes beyond ASCII", get("X-Name: \xc3\xa4\r\n"), 0},
      {"HTTP/1.0", "GET /livez HTTP/1.0\r\nHost: a\r\n\r\n", 0},

      {"chunked", post("Transfer-Encoding: chunked\r\n"), 411},
      {"chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 411},
      {"length and chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 411},
      {"identity", post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), 411},
      {"encoding in odd case", post("tRANSFER-eNCODING: cHUNKED\r\nContent-Length: 5\r\n"), 411},
      {"encoding with a tab", post("Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n"), 411},
      {"empty encoding", post("Transfer-Encoding:\r\nContent-Length: 5\r\n"), 411},
      {"get chunked", get("Transfer-Encoding: chunked\r\n"), 411},
      {"encoding with a space before the colon", post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n"),
       400},
      {"encoding behind a control character", post("\x0bTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
       400},

      {"no length", post(""), 411},
      {"two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400},
      {"two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
      {"two lengths on get", get("Content-Length: 0\r\nContent-Length: 0\r\n"), 400},
      {"list of lengths", post("Content-Length: 5, 5\r\n"), 400},
      {"signed length", post("Content-Length: +5\r\n"), 400},
      {"negative length", post("Content-Length: -5\r\n"), 400},
      {"hexadecimal length", post("Content-Length: 0x5\r\n"), 400},
      {"fraction", post("Content-Length: 5.0\r\n"), 400},
      {"length with a space inside", post("Content-Length: 5 0\r\n"), 400},
      {"empty length", post("Content-Length:\r\n"), 400},
      {"length beyond 64 bits", post("Content-Length: 18446744073709551621\r\n"), 400},
      {"length with a null", post(std::string("Content-Length: 5\0\r\n", 20)), 400},

      {"no host", "GET /livez HTTP/1.1\r\n\r\n", 400},
      {"two hosts", get("Host: b\r\n"), 400},
      {"empty host", "GET /livez HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"host with a path", "GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"host with credentials", "GET /livez HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},

      {"folded field", get("X-Long: a\r\n b\r\n"), 400},
      {"folded length", post("Content-Length:\r\n 5\r\n"), 400},
      {"first field folded", "GET /livez HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"bare line feed", "GET /livez HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"bare line feed between fields", get("X-A: b\nTransfer-Encoding: chunked\r\n"), 400},
      {"bare carriage return", get("X-A: b\rTransfer-Encoding: chunked\r\n"), 400},
      {"null in a value", get(std::string("X-A: b\0c\r\n", 10)), 400},
      {"null in a name", get(std::string("X\0A: b\r\n", 8)), 400},
      {"no colon", get("Transfer-Encoding\r\n"), 400},
      {"empty name", get(": b\r\n"), 400},
      {"space in a name", get("X A: b\r\n"), 400},
      {"delete character", get("X-A: \x7f\r\n"), 400},

      {"empty first line", "\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no version", "GET /livez\r\nHost: a\r\n\r\n", 400},
      {"version 2", "GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"version 1.2", "GET /livez HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"preface of HTTP/2", "PRI * HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"another protocol", "GET /livez ICY/1.1\r\nHost: a\r\n\r\n", 400},
      {"two spaces", "GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"space at the end of the line", "GET /livez HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"tab as separator", "GET\t/livez\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"lower-case method", "get /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"absolute target", "GET http://a/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"authority", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"fragment", "GET /livez#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"control character in the target", "GET /li\x01vez HTTP/1.1\r\nHost: a\r\n\r\n", 400},

      {"two authorizations", get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400},
      {"two content types", post("Content-Length: 1\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n"), 400},
      {"unknown expectation", post("Content-Length: 1\r\nExpect: tea\r\n"), 417},
  };
  for (const Case& one : cases) EXPECT_EQ(status_of(one.head), one.status) << one.what;
}

TEST(Framing, CountsFields) {
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "X-" + std::to_string(i) + ": a\r\n";
  EXPECT_EQ(status_of(get(fields)), 0);
  EXPECT_EQ(status_of(get(fields + "X-More: a\r\n")), 431);
}

TEST(ParseHead, ReadsWhatTheServerNeeds) {
  const auto outcome =
      parse_head(post("content-length: 12\r\nAUTHORIZATION:  Bearer  k \r\nContent-Type: application/json; "
                      "charset=utf-8\r\nx-request-id: abc-1\r\nexpect: 100-Continue\r\n"),
                 100);
  const auto& request = std::get<HttpRequest>(outcome);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/v1/completions");
  EXPECT_EQ(request.content_length, 12u);
  EXPECT_EQ(request.authorization, "Bearer  k");
  EXPECT_EQ(request.content_type, "application/json; charset=utf-8");
  EXPECT_EQ(request.request_id, "abc-1");
  EXPECT_TRUE(request.expects_continue);
  EXPECT_TRUE(request.keep_alive);
}

TEST(ParseHead, KeepsNoConnectionThatTheClientWillClose) {
  EXPECT_FALSE(std::get<HttpRequest>(parse_head(get("Connection: close\r\n"), 100)).keep_alive);
  EXPECT_FALSE(std::get<HttpRequest>(parse_head(get("Connection: x, Close\r\n"), 100)).keep_alive);
  EXPECT_TRUE(std::get<HttpRequest>(parse_head(get("Connection: keep-alive\r\n"), 100)).keep_alive);
  EXPECT_FALSE(std::get<HttpRequest>(parse_head("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 100)).keep_alive);
}

TEST(ParseHead, TakesNoRequestIdThatCouldForgeALine) {
  EXPECT_EQ(std::get<HttpRequest>(parse_head(get("x-request-id: a b\r\n"), 100)).request_id, "");
  EXPECT_EQ(std::get<HttpRequest>(parse_head(get("x-request-id: " + std::string(129, 'a') + "\r\n"), 100))
                .request_id,
            "");
}

// Whatever bytes come, the head is either taken or refused with a 4xx or 505; one that is taken has one
// length.
TEST(Framing, SurvivesMutants) {
  const std::vector<std::string> seeds = {post("Content-Length: 5\r\nContent-Type: application/json\r\n"),
                                          get("Connection: close\r\nX-A: b\r\n")};
  uint64_t state = 1;
  const auto draw = [&state](size_t bound) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>(state >> 33) % bound;
  };
  const std::string spice = "\r\n\t :,\0\x7f\x80;=chunked5";
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string head = seeds[draw(seeds.size())];
    for (size_t change = 0; change <= draw(3); ++change) {
      const size_t at = draw(head.size() - 4);
      switch (draw(3)) {
        case 0:
          head[at] = spice[draw(spice.size())];
          break;
        case 1:
          head.insert(at, 1, spice[draw(spice.size())]);
          break;
        default:
          head.erase(at, 1);
      }
    }
    head.resize(head.find("\r\n\r\n") == std::string::npos ? head.size() : head.find("\r\n\r\n") + 4);
    if (!head.ends_with("\r\n\r\n")) continue;
    const auto outcome = parse_head(head, 100);
    if (const auto* fault = std::get_if<HttpFault>(&outcome)) {
      EXPECT_TRUE((fault->status >= 400 && fault->status < 500) || fault->status == 505) << head;
    } else {
      ++taken;
      const auto& request = std::get<HttpRequest>(outcome);
      EXPECT_TRUE(request.method != "POST" || request.content_length.has_value()) << head;
    }
  }
  EXPECT_GT(taken, 100);
}

}  // namespace
}  // namespace batchmax::coordinator
