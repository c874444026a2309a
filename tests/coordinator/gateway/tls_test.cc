// HTTPS: the same answers inside, clean ends, and what those who do not speak it cost.
#include "tests/coordinator/gateway/completion_fixture.h"
#include "tests/support/certificate.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::coordinator {
namespace {

namespace ssl = boost::asio::ssl;

class Https : public Completion {
 protected:
  Https()
      : certificate_(folder_.path(), "server", "IP:127.0.0.1"),
        trust_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    tls_ = std::make_shared<ssl::context>(ssl::context::tls_server);
    tls_->use_certificate_chain_file(certificate_.certificate_file());
    tls_->use_private_key_file(certificate_.key_file(), ssl::context::pem);
    SSL_CTX_load_verify_file(trust_.get(), certificate_.certificate_file().c_str());
    SSL_CTX_set_verify(trust_.get(), SSL_VERIFY_PEER, nullptr);
  }

  TemporaryFolder folder_;
  Certificate certificate_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> trust_;
};

TEST_F(Https, AnswersAndKeepsTheConnection) {
  start();
  HttpClient client(port_, trust_.get());
  for (int i = 0; i < 3; ++i) {
    client.get("/livez");
    EXPECT_EQ(client.read().status, 200);
    client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
    EXPECT_EQ(client.read().events().back(), "[DONE]");
  }
}

TEST_F(Https, TakesABodyOfManyRecordsAndSendsOne) {
  start();
  HttpClient client(port_, trust_.get());
  std::string ids = "5";
  for (int i = 1; i < 4000; ++i) ids += ",5";
  const std::string filler(200000, ' ');
  client.post("/v1/completions", "{\"prompt\": [" + ids + "], " + filler + "\"max_tokens\": 9}");
  EXPECT_EQ(client.read().status, 200);
  client.get("/page/uplot/uplot.js");
  const ClientAnswer file = client.read();
  EXPECT_EQ(file.status, 200);
  EXPECT_GT(file.body.size(), size_t{20000});
}

TEST_F(Https, EndsWithNoticeAfterTheLastAnswer) {
  start();
  HttpClient client(port_, trust_.get());
  client.get("/livez", "Connection: close\r\n");
  EXPECT_EQ(client.read().status, 200);
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(client.ended_with_notice());
}

TEST_F(Https, EndsThoseWhoSpeakPlainHttpOnceAndServesOn) {
  start();
  HttpClient plain(port_);
  plain.get("/livez");
  std::string answer;
  try {
    answer = plain.wait_for("HTTP");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(answer, "");
  HttpClient client(port_, trust_.get());
  client.get("/livez");
  EXPECT_EQ(client.read().status, 200);
}

TEST_F(Https, EndsAHandshakeThatNeverComes) {
  settings_.header_timeout = 0.05;
  start();
  HttpClient silent(port_), slow(port_);
  slow.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  EXPECT_TRUE(silent.at_end());
  EXPECT_TRUE(slow.at_end());
}

TEST_F(Https, EndsSlowHeadersInside) {
  settings_.header_timeout = 1;
  start();
  HttpClient slow(port_, trust_.get());
  slow.send("GET /livez HT");
  EXPECT_EQ(slow.read().error_code(), "request_timeout");
  EXPECT_TRUE(slow.at_end());
}

TEST_F(Https, HangsUpBeyondTheCapOfConnections) {
  settings_.max_connections = 1;
  start();
  HttpClient first(port_, trust_.get());
  first.get("/livez");
  EXPECT_EQ(first.read().status, 200);
  EXPECT_THROW(HttpClient(port_, trust_.get()), std::runtime_error);
  first.leave();
  EXPECT_TRUE(eventually([&] {
    try {
      HttpClient next(port_, trust_.get());
      next.get("/livez");
      return next.read().status == 200;
    } catch (const std::runtime_error&) {
      return false;
    }
  }));
}

TEST_F(Https, CancelsWhatAClientLeaves) {
  backend_.script = [](const TokenRequest&) {
    return std::deque<TokenEvent>{TokenChunk{{1000}}};
  };  // never ends
  start();
  for (const char* body : {R"({"prompt": [5]})", R"({"prompt": [5], "stream": true})"}) {
    HttpClient client(port_, trust_.get());
    client.post("/v1/completions", body);
    EXPECT_TRUE(eventually([&] { return backend_.open > 0; }));
    client.leave();
    EXPECT_TRUE(eventually([&] { return backend_.open == 0; })) << body;
  }
}

TEST_F(Https, AbortsAStreamThatIsNotRead) {
  settings_.stream_stall_timeout = 0.05;
  backend_.script = [](const TokenRequest&) {
    std::deque<TokenEvent> events;
    for (int i = 0; i < 2000; ++i) events.push_back(TokenChunk{std::vector<int32_t>(50, 1000)});
    return events;  // far more than the sockets hold; never ends
  };
  start();
  HttpClient client(port_, trust_.get());
  client.post("/v1/completions", R"({"prompt": [5], "stream": true})");
  EXPECT_TRUE(eventually([&] { return backend_.submitted == 1 && backend_.open == 0; }));
  EXPECT_EQ(backend_.abandoned, 1);
}

}  // namespace
}  // namespace batchmax::coordinator
