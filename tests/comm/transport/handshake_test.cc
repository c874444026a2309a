#include "comm/transport/handshake.h"

#include <gmock/gmock.h>

#include <array>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "tests/comm/transport/loopback.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using testing::HasSubstr;
using namespace std::chrono_literals;

struct Outcome {
  bool done = false;
  std::optional<HandshakeError::Kind> failure;
  std::string message;
};

asio::awaitable<void> shake(Channel& channel, Role role, std::string secret, std::chrono::milliseconds limit,
                            Outcome& outcome) {
  try {
    co_await shake_hands(channel, role, secret, limit);
    outcome.done = true;
  } catch (const HandshakeError& error) {
    outcome.failure = error.kind();
    outcome.message = error.what();
  }
}

class Handshake : public testing::Test {
 protected:
  // Both sides of ours.
  void meet(const std::string& dialer_secret, const std::string& acceptor_secret) {
    auto [a, b] = socket_pair(io_);
    auto dialer = make_tcp_channel(std::move(a));
    auto acceptor = make_tcp_channel(std::move(b));
    run_all(io_, {[&] { return shake(*dialer, Role::dialer, dialer_secret, 20s, dialer_); },
                  [&] { return shake(*acceptor, Role::acceptor, acceptor_secret, 20s, acceptor_); }});
  }
  // Ours in `role`, and a stranger on the plain socket.
  Outcome face(Role role, std::chrono::milliseconds limit,
               std::function<asio::awaitable<void>(tcp::socket&)> stranger) {
    auto [a, b] = socket_pair(io_);
    auto channel = make_tcp_channel(std::move(a));
    tcp::socket other = std::move(b);
    Outcome outcome;
    run_all(io_, {[&] { return shake(*channel, role, "secret", limit, outcome); },
                  [&] { return stranger(other); }});
    return outcome;
  }

  asio::io_context io_;
  Outcome dialer_, acceptor_;
};

TEST_F(Handshake, OfEqualSecretsSucceedsOnBothSides) {
  meet("the same", "the same");
  EXPECT_TRUE(dialer_.done);
  EXPECT_TRUE(acceptor_.done);
}

TEST_F(Handshake, OfDifferentSecretsTellsBothSides) {
  meet("this one", "that one");
  EXPECT_EQ(dialer_.failure, HandshakeError::Kind::secret_mismatch);
  EXPECT_EQ(acceptor_.failure, HandshakeError::Kind::secret_mismatch);
  EXPECT_THAT(dialer_.message, testing::StartsWith("secret mismatch: 127.0.0.1:"));
  EXPECT_THAT(dialer_.message, HasSubstr("--secret-file"));
}

TEST_F(Handshake, RefusesAPeerOfAnotherProtocol) {
  const Outcome outcome = face(Role::acceptor, 20s, [](tcp::socket& socket) -> asio::awaitable<void> {
    const std::string request = "GET / HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n";
    co_await asio::async_write(socket, asio::buffer(request), asio::use_awaitable);
  });
  EXPECT_EQ(outcome.failure, HandshakeError::Kind::not_a_peer);
}

TEST_F(Handshake, EndsAfterItsTimeLimitWhenThePeerIsSilent) {
  for (const Role role : {Role::dialer, Role::acceptor}) {
    const Outcome outcome = face(role, 20ms, [](tcp::socket& socket) -> asio::awaitable<void> {
      std::array<char, 1000> sink;
      boost::system::error_code end;
      while (!end)
        co_await socket.async_read_some(asio::buffer(sink), asio::redirect_error(asio::use_awaitable, end));
    });
    EXPECT_EQ(outcome.failure, HandshakeError::Kind::too_slow);
    EXPECT_THAT(outcome.message, HasSubstr("20 ms"));
  }
}

TEST_F(Handshake, EndsWhenThePeerHangsUpHalfWay) {
  const Outcome outcome = face(Role::dialer, 20s, [](tcp::socket& socket) -> asio::awaitable<void> {
    std::array<char, 40> greeting;
    co_await asio::async_read(socket, asio::buffer(greeting), asio::use_awaitable);
    co_await asio::async_write(socket, asio::buffer(greeting, 11), asio::use_awaitable);
    socket.close();
  });
  EXPECT_EQ(outcome.failure, HandshakeError::Kind::lost);
}

// A stranger that returns every byte it gets shows the dialer's own greeting and code back to it.
TEST_F(Handshake, IsNotFooledByAnEcho) {
  const Outcome outcome = face(Role::dialer, 20s, [](tcp::socket& socket) -> asio::awaitable<void> {
    std::array<char, 40> greeting;
    co_await asio::async_read(socket, asio::buffer(greeting), asio::use_awaitable);
    co_await asio::async_write(socket, asio::buffer(greeting), asio::use_awaitable);
    std::array<char, 33> verdict{1};
    co_await asio::async_read(socket, asio::buffer(verdict.data() + 1, 32), asio::use_awaitable);
    co_await asio::async_write(socket, asio::buffer(verdict), asio::use_awaitable);
  });
  EXPECT_EQ(outcome.failure, HandshakeError::Kind::secret_mismatch);
}

TEST_F(Handshake, IsNotFooledByAClaimOfAcceptance) {
  const Outcome outcome = face(Role::dialer, 20s, [](tcp::socket& socket) -> asio::awaitable<void> {
    std::array<char, 40> greeting;
    co_await asio::async_read(socket, asio::buffer(greeting), asio::use_awaitable);
    greeting.back() ^= 1;
    co_await asio::async_write(socket, asio::buffer(greeting), asio::use_awaitable);
    std::array<char, 33> verdict{1};
    co_await asio::async_write(socket, asio::buffer(verdict), asio::use_awaitable);
  });
  EXPECT_EQ(outcome.failure, HandshakeError::Kind::secret_mismatch);
  EXPECT_THAT(outcome.message, HasSubstr("could not prove"));
}

}  // namespace
}  // namespace batchmax::comm
