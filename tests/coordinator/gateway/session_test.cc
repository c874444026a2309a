// Connections: what is answered, when they stay open, when they are closed, and what nobody can make them do.
#include "tests/coordinator/gateway/gateway_fixture.h"

namespace batchmax::coordinator {
namespace {

using Session = GatewayTest;

TEST_F(Session, KeepsAConnectionForTheNextRequest) {
  start();
  HttpClient client(port_);
  for (int i = 0; i < 3; ++i) {
    client.get("/livez");
    EXPECT_EQ(client.read().status, 200);
    client.post("/v1/completions", R"({"prompt": [1]})");
    EXPECT_EQ(client.read().status, 200);
  }
}

TEST_F(Session, AnswersPipelinedRequestsInOrder) {
  start();
  HttpClient client(port_);
  client.get("/livez");
  client.get("/nothing");
  client.get("/version");
  EXPECT_EQ(client.read().status, 200);
  EXPECT_EQ(client.read().status, 404);
  EXPECT_EQ(client.read().json().at("version"), "0.0.0");
}

TEST_F(Session, ClosesAfterAHalfCloseThatCameWithTheRequest) {
  start();
  for (int i = 0; i < 20; ++i) {
    HttpClient client(port_);
    if (i % 2 == 0) {
      client.get("/livez");
    } else {
      client.post("/v1/completions", "{");
    }
    client.end_sending();
    client.read_all();  // whether it was still answered is a matter of who came first
  }
}

TEST_F(Session, AnswersBadFramingOnceAndCloses) {
  start();
  const std::pair<std::string, int> cases[] = {
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez "
       "HTTP/1.1\r\nHost: "
       "a\r\n\r\n",
       411},
      {"GET /livez HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"nonsense\r\n\r\n", 400},
      {"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + std::string(20000, 'a') + "\r\n\r\n", 431},
  };
  for (const auto& [bytes, status] : cases) {
    HttpClient client(port_);
    client.send(bytes);
    const ClientAnswer answer = client.read();
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(answer.fields.at("connection"), "close");
    EXPECT_FALSE(answer.error_code().empty());
    EXPECT_TRUE(client.at_end());
  }
}

TEST_F(Session, RefusesWhatItWillNotRead) {
  settings_.max_body_bytes = 1000;
  start();
  struct Case {
    std::string head;
    int status;
    std::string code;
  };
  const Case cases[] = {
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
       "1001\r\n\r\n",
       413, "body_too_large"},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
       415, "unsupported_media_type"},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 415,
       "unsupported_media_type"},
      {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 404, "not_found"},
      {"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"},
  };
  for (const Case& one : cases) {
    HttpClient client(port_);
    client.send(one.head);
    const ClientAnswer answer = client.read();
    EXPECT_EQ(answer.status, one.status);
    EXPECT_EQ(answer.error_code(), one.code);
    EXPECT_TRUE(client.at_end()) << "the body would be taken for a request";
  }
}

TEST_F(Session, AnswersHeadAsGetWithoutABody) {
  start();
  HttpClient client(port_);
  for (const char* path : {"/livez", "/nowhere", "/v1/completions"}) {
    const std::string rest = std::string(" ") + path + " HTTP/1.1\r\nHost: a\r\nx-request-id: r\r\n\r\n";
    client.send("GET" + rest);
    const ClientAnswer whole = client.read();
    client.send("HEAD" + rest + "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    const ClientAnswer head = client.read_head();
    EXPECT_EQ(head.status, whole.status);
    EXPECT_EQ(head.fields, whole.fields);
    EXPECT_EQ(client.read().body, R"({"status":"ok"})");
  }
}

TEST_F(Session, NamesTheMethodsOfAPath) {
  start();
  EXPECT_EQ(get("/livez").status, 200);
  EXPECT_EQ(post("/livez", "{}").fields.at("allow"), "GET, HEAD");
  const ClientAnswer answer = get("/v1/completions");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.fields.at("allow"), "POST");
  EXPECT_EQ(answer.error_code(), "method_not_allowed");
}

TEST_F(Session, AsksForTheBodyOfAClientThatWaits) {
  start();
  HttpClient client(port_);
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
      "Content-Length: 15\r\n\r\n");
  client.wait_for("HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(client.read().status, 100);
  client.send(R"({"prompt": [1]})");
  EXPECT_EQ(client.read().status, 200);
}

TEST_F(Session, TakesBytesOneByOne) {
  start();
  HttpClient client(port_);
  const std::string bytes =
      "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
      "15\r\n\r\n{\"prompt\": [1]}";
  for (const char c : bytes) client.send(std::string(1, c));
  EXPECT_EQ(client.read().status, 200);
}

TEST_F(Session, EndsSlowHeaders) {
  settings_.header_timeout = 0.05;
  start();
  HttpClient silent(port_);
  EXPECT_TRUE(silent.at_end());
  HttpClient slow(port_);
  slow.send("GET /livez HT");
  const ClientAnswer answer = slow.read();
  EXPECT_EQ(answer.status, 408);
  EXPECT_EQ(answer.error_code(), "request_timeout");
  EXPECT_TRUE(slow.at_end());
}

TEST_F(Session, EndsSlowBodies) {
  settings_.body_timeout = 0.05;
  start();
  HttpClient slow(port_);
  slow.send(
      "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
      "15\r\n\r\n{");
  EXPECT_EQ(slow.read().status, 408);
  EXPECT_TRUE(slow.at_end());
}

// What all clients send together is bounded; what is being answered counts no more, and small requests always
// pass.
TEST_F(Session, HoldsSoManyBytesOfBodiesAndNoMore) {
  settings_.max_body_bytes = settings_.max_total_body_bytes = 150'000;
  backend_.script = [](const TokenRequest&) { return std::deque<TokenEvent>{TokenChunk{{1000}}}; };
  start();
  std::string large = R"({"prompt": [1], "stream": true, "metadata": {"x": ")";
  large += std::string(145'000 - large.size(), 'x') + "\"}}";
  HttpClient slow(port_);
  slow.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " +
            std::to_string(large.size()) + "\r\n\r\n" + large.substr(1));
  // The slow one may not have arrived at first.
  ClientAnswer refused;
  EXPECT_TRUE(eventually([&] {
    refused = post("/tokenize", large);
    return refused.status == 503;
  }));
  EXPECT_EQ(refused.error_code(), "too_many_bytes");
  EXPECT_TRUE(refused.fields.contains("retry-after"));
  EXPECT_EQ(refused.fields.at("connection"), "close");
  EXPECT_EQ(post("/tokenize", R"({"prompt": "a"})").status, 200);
  slow.send(large.substr(0, 1));  // it is no JSON now: never mind, it is read
  EXPECT_EQ(slow.read().status, 400);
  HttpClient answered(port_);
  answered.post("/v1/completions", large);
  answered.wait_for("data: ");
  EXPECT_EQ(post("/tokenize", large).status, 400) << "read, and refused for what it says";
}

TEST_F(Session, EndsIdleConnections) {
  settings_.idle_timeout = 0.05;
  start();
  HttpClient client(port_);
  client.get("/livez");
  EXPECT_EQ(client.read().status, 200);
  EXPECT_TRUE(client.at_end());
}

TEST_F(Session, TurnsAwayConnectionsBeyondTheCap) {
  settings_.max_connections = 2;
  start();
  HttpClient first(port_), second(port_);
  first.get("/livez");
  second.get("/livez");
  EXPECT_EQ(first.read().status, 200);
  EXPECT_EQ(second.read().status, 200);
  HttpClient third(port_);
  const ClientAnswer answer = third.read();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.error_code(), "too_many_connections");
  EXPECT_TRUE(answer.fields.contains("retry-after"));
  EXPECT_EQ(answer.fields.at("x-request-id").size(), 32U);
  first.leave();
  EXPECT_TRUE(eventually([&] { return get("/livez").status == 200; }));
}

TEST_F(Session, EchoesTheRequestIdOrMakesOne) {
  start();
  EXPECT_EQ(get("/livez", "x-request-id: mine-1\r\n").fields.at("x-request-id"), "mine-1");
  const std::string first = get("/livez").fields.at("x-request-id");
  EXPECT_EQ(first.size(), 32u);
  EXPECT_NE(first, get("/livez").fields.at("x-request-id"));
}

TEST_F(Session, AsksForTheKeyWhereverOneIsNeeded) {
  settings_.api_keys = {"alpha", "beta"};
  settings_.metrics_key = "gamma";
  start();
  const std::string good = "Authorization: Bearer beta\r\n";
  for (const char* path : {"/v1/models", "/version", "/nothing"}) {
    const ClientAnswer answer = get(path);
    EXPECT_EQ(answer.status, 401) << path;
    EXPECT_EQ(answer.error_code(), "invalid_api_key");
    EXPECT_EQ(answer.fields.at("www-authenticate"), "Bearer");
    EXPECT_EQ(get(path, "Authorization: Bearer gamma\r\n").status, 401) << path;
  }
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    EXPECT_EQ(post(path, "{}").status, 401) << path;
  }
  EXPECT_EQ(get("/v1/models", good).status, 200);
  EXPECT_EQ(get("/nothing", good).status, 404);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [1]})", good).status, 200);
  for (const char* path : {"/health", "/livez", "/readyz"}) EXPECT_EQ(get(path).status, 200) << path;
  EXPECT_EQ(get("/metrics").status, 401);
  EXPECT_EQ(get("/metrics", good).status, 401);
  EXPECT_EQ(get("/metrics", "Authorization: Bearer gamma\r\n").status, 200);
}

TEST_F(Session, LeavesMetricsOpenWithoutAMetricsKey) {
  settings_.api_keys = {"alpha"};
  start();
  EXPECT_EQ(get("/livez").status, 200);
  const ClientAnswer answer = get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find("batchmax_http_responses_total"), std::string::npos);
}

TEST_F(Session, SpeaksHttp10AndCloses) {
  start();
  HttpClient client(port_);
  client.send("GET /livez HTTP/1.0\r\nHost: a\r\n\r\n");
  EXPECT_EQ(client.read().status, 200);
  EXPECT_TRUE(client.at_end());
}

TEST_F(Session, ClosesAfterTheAnswerWhenAsked) {
  start();
  HttpClient client(port_);
  client.get("/livez", "Connection: close\r\n");
  EXPECT_EQ(client.read().fields.at("connection"), "close");
  EXPECT_TRUE(client.at_end());
}

TEST_F(Session, SaysWhatToDoWhenThePortIsTaken) {
  start();
  config::Settings same = settings_;
  same.port = port_;
  Gateway second(
      {loop_.get_executor(), same, backend_, {}, metrics_, monitoring::Log::silent(), 1, "0.0.0", nullptr});
  try {
    second.listen();
    FAIL() << "two servers on one port";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace batchmax::coordinator
