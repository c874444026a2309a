// The worker port with TLS: who is let in, who is not and why, and what silent strangers cost.
#include "comm/transport/tls.h"

#include <gmock/gmock.h>

#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fstream>

#include "comm/transport/dial.h"
#include "comm/transport/handshake.h"
#include "comm/transport/listener.h"
#include "tests/comm/transport/loopback.h"
#include "tests/support/certificate.h"
#include "tests/support/temporary_folder.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using testing::AllOf;
using testing::HasSubstr;
using namespace std::chrono_literals;

const char kHost[] = "127.0.0.1";

class Tls : public testing::Test {
 protected:
  Tls()
      : authority_(folder_.path(), "authority", ""),
        stranger_(folder_.path(), "stranger", ""),
        server_(folder_.path(), "server", "DNS:coordinator.example,IP:127.0.0.1", &authority_) {}

  std::unique_ptr<Listener> listen(std::chrono::milliseconds handshake_limit = 5s) {
    ListenOptions options;
    options.handshake_limit = handshake_limit;
    options.tls = listening_tls("worker-ssl", server_.certificate_file(), server_.key_file());
    auto listener = std::make_unique<Listener>(io_.get_executor(), kHost, uint16_t{0}, "secret", options,
                                               monitoring::Log::silent());
    listener->start(
        [this](std::shared_ptr<Connection> connection) { accepted_.push_back(std::move(connection)); });
    return listener;
  }
  DialOptions trusting(const std::string& authorities, const std::string& name) {
    DialOptions options;
    options.redial_for = 0ms;
    options.tls = dialing_tls("worker-ssl", authorities);
    options.tls_name = name;
    return options;
  }
  // Why dialling fails; empty: it does not, and a frame comes through.
  std::string outcome(const DialOptions& options, const std::string& secret = "secret") {
    auto listener = listen();
    std::string failure;
    run_all(io_, {[&]() -> asio::awaitable<void> {
              try {
                const auto dialed =
                    co_await dial(kHost, listener->port(), secret, options, monitoring::Log::silent());
                pb::Frame frame;
                frame.mutable_ping()->set_id(5);
                co_await dialed->send(frame);
                while (accepted_.empty()) co_await asio::post(io_, asio::use_awaitable);
                EXPECT_EQ((co_await accepted_.back()->receive()).ping().id(), 5U);
              } catch (const std::exception& error) {
                failure = error.what();
              }
              listener->close();
            }});
    return failure;
  }

  TemporaryFolder folder_;
  Certificate authority_, stranger_, server_;
  asio::io_context io_;
  std::vector<std::shared_ptr<Connection>> accepted_;
};

TEST_F(Tls, ConnectsWhoTrustsTheAuthorityOrTheCertificateItself) {
  EXPECT_EQ(outcome(trusting(authority_.certificate_file(), kHost)), "");
  EXPECT_EQ(outcome(trusting(authority_.certificate_file(), "coordinator.example")), "");
  EXPECT_EQ(outcome(trusting(server_.certificate_file(), kHost)), "");
}

TEST_F(Tls, CarriesFramesOfAnySizeBothWaysAtOnce) {
  auto listener = listen();
  run_all(io_, {[&]() -> asio::awaitable<void> {
            const DialOptions options = trusting(authority_.certificate_file(), kHost);
            const auto dialed =
                co_await dial(kHost, listener->port(), "secret", options, monitoring::Log::silent());
            while (accepted_.empty()) co_await asio::post(io_, asio::use_awaitable);
            const auto accepted = accepted_[0];
            for (const size_t size : {size_t{1}, size_t{16384}, size_t{3'000'000}}) {
              pb::Frame frame;
              frame.mutable_hello()->set_group(std::string(size, 'x'));
              EXPECT_TRUE(dialed->try_send(frame));
              EXPECT_TRUE(accepted->try_send(frame));
            }
            for (const size_t size : {size_t{1}, size_t{16384}, size_t{3'000'000}}) {
              EXPECT_EQ((co_await accepted->receive()).hello().group().size(), size);
              EXPECT_EQ((co_await dialed->receive()).hello().group().size(), size);
            }
            listener->close();
          }});
}

TEST_F(Tls, RefusesACertificateOfAnotherAuthority) {
  EXPECT_THAT(outcome(trusting(stranger_.certificate_file(), kHost)),
              AllOf(HasSubstr("is not trusted"), HasSubstr("--worker-ssl-ca-certs")));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Tls, RefusesACertificateOfAnotherName) {
  EXPECT_THAT(outcome(trusting(authority_.certificate_file(), "elsewhere.example")), HasSubstr("mismatch"));
  EXPECT_THAT(outcome(trusting(authority_.certificate_file(), "127.0.0.2")), HasSubstr("mismatch"));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Tls, StillAsksForTheSecret) {
  EXPECT_THAT(outcome(trusting(authority_.certificate_file(), kHost), "another"),
              testing::StartsWith("secret mismatch: "));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Tls, DoesNotTalkToAGroupWithoutIt) {
  DialOptions plain;
  plain.redial_for = 0ms;
  EXPECT_THAT(outcome(plain), HasSubstr("both sides must use TLS, or neither"));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Tls, DoesNotTalkToACoordinatorWithoutIt) {
  Listener plain(io_.get_executor(), kHost, 0, "secret", {}, monitoring::Log::silent());
  plain.start([this](std::shared_ptr<Connection> connection) { accepted_.push_back(std::move(connection)); });
  std::string failure;
  run_all(io_, {[&]() -> asio::awaitable<void> {
            const DialOptions options = trusting(authority_.certificate_file(), kHost);
            try {
              co_await dial(kHost, plain.port(), "secret", options, monitoring::Log::silent());
            } catch (const std::exception& error) {
              failure = error.what();
            }
            plain.close();
          }});
  EXPECT_THAT(failure, HasSubstr("both sides must use TLS, or neither"));
  EXPECT_TRUE(accepted_.empty());
}

// One that says nothing, one that stops inside its first record, one that speaks something else.
TEST_F(Tls, EndsStrangersWhoseHandshakeNeverComes) {
  auto listener = listen(30ms);
  int hung_up = 0;
  std::string failure;
  run_all(io_, {[&]() -> asio::awaitable<void> {
            const std::vector<std::string> openings = {
                "", {"\x16\x03\x01\x02\x00\x01", 6}, "GET / HTTP/1.1\r\n\r\n"};
            for (const std::string& bytes : openings) {
              tcp::socket stranger(io_);
              co_await stranger.async_connect(
                  tcp::endpoint(asio::ip::address_v4::loopback(), listener->port()), asio::use_awaitable);
              co_await asio::async_write(stranger, asio::buffer(bytes), asio::use_awaitable);
              std::array<char, 64> answer;  // at most an alert
              boost::system::error_code end;
              co_await asio::async_read(stranger, asio::buffer(answer),
                                        asio::redirect_error(asio::use_awaitable, end));
              if (end) ++hung_up;
            }
            listener->close();
          }});
  EXPECT_EQ(hung_up, 3);
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Tls, SaysWhichFileCannotBeUsed) {
  const std::string text = folder_.path() + "/text", empty = folder_.path() + "/empty";
  std::ofstream(text) << "no certificate\n";
  std::ofstream(empty).flush();
  const std::string good = server_.certificate_file(), key = server_.key_file();
  struct Case {
    std::string certificates, key, words;
  };
  const std::vector<Case> cases = {
      {"/nowhere.crt", key, "--ssl-certfile /nowhere.crt: No such file"},
      {good, "/nowhere.key", "--ssl-keyfile /nowhere.key: No such file"},
      {text, key, "--ssl-certfile " + text + " cannot be used"},
      {empty, key, "--ssl-certfile " + empty + ": the file is empty"},
      {folder_.path(), key, "--ssl-certfile " + folder_.path() + ": Is a directory"},
      {good, text, "--ssl-keyfile " + text + " cannot be used"},
      {good, authority_.key_file(), "the private key of the certificate in " + good},
      {good, "", "--ssl-certfile " + good + " cannot be used"},
  };
  for (const Case& one : cases) {
    try {
      listening_tls("ssl", one.certificates, one.key);
      ADD_FAILURE() << one.words;
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr(one.words));
    }
  }
  try {
    dialing_tls("worker-ssl", text);
    ADD_FAILURE() << "a text file is no authority";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("--worker-ssl-ca-certs " + text + " cannot be used"));
  }
  EXPECT_EQ(listening_tls("ssl", "", ""), nullptr);
  EXPECT_EQ(dialing_tls("ssl", ""), nullptr);
}

TEST_F(Tls, FindsTheKeyBesideTheCertificate) {
  const std::string both = folder_.path() + "/both";
  std::ofstream(both) << std::ifstream(server_.certificate_file()).rdbuf()
                      << std::ifstream(server_.key_file()).rdbuf();
  EXPECT_NE(listening_tls("ssl", both, ""), nullptr);
}

// Whatever asks for the pass phrase, it is not the terminal of a service.
TEST_F(Tls, RefusesAKeyWithAPassPhrase) {
  const std::string locked = folder_.path() + "/locked.key";
  EVP_PKEY* key = EVP_EC_gen("P-256");
  FILE* file = std::fopen(locked.c_str(), "w");
  char phrase[] = "phrase";
  ASSERT_EQ(PEM_write_PKCS8PrivateKey(file, key, EVP_aes_128_cbc(), phrase, 6, nullptr, nullptr), 1);
  std::fclose(file);
  EVP_PKEY_free(key);
  try {
    listening_tls("ssl", server_.certificate_file(), locked);
    ADD_FAILURE() << "taken";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr(locked), HasSubstr("without a pass phrase")));
  }
}

}  // namespace
}  // namespace batchmax::comm
