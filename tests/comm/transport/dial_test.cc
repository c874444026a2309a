#include "comm/transport/dial.h"

#include <gmock/gmock.h>

#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "comm/transport/handshake.h"
#include "comm/transport/listener.h"
#include "tests/comm/transport/loopback.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using testing::HasSubstr;
using namespace std::chrono_literals;

const char kHost[] = "127.0.0.1";

class Dialing : public testing::Test {
 protected:
  std::unique_ptr<Listener> listen(uint16_t port = 0, ListenOptions options = {}) {
    auto listener = std::make_unique<Listener>(io_.get_executor(), kHost, port, "secret", options,
                                               monitoring::Log::silent());
    listener->start(
        [this](std::shared_ptr<Connection> connection) { accepted_.push_back(std::move(connection)); });
    return listener;
  }
  asio::awaitable<void> try_dial(uint16_t port, std::string secret) {
    return try_dial(port, std::move(secret), DialOptions{});
  }
  asio::awaitable<void> try_dial(uint16_t port, std::string secret, DialOptions options) {
    try {
      dialed_ = co_await dial(kHost, port, std::move(secret), options, monitoring::Log::silent());
    } catch (const std::exception& error) {
      failure_ = error.what();
    }
  }
  uint16_t free_port() {
    tcp::acceptor acceptor(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    return acceptor.local_endpoint().port();
  }

  asio::io_context io_;
  std::vector<std::shared_ptr<Connection>> accepted_;
  std::shared_ptr<Connection> dialed_;
  std::string failure_;
};

TEST_F(Dialing, ConnectsBothSides) {
  auto listener = listen();
  run_all(io_, {[&]() -> asio::awaitable<void> {
            co_await try_dial(listener->port(), "secret");
            EXPECT_EQ(failure_, "");
            if (!dialed_) co_return;
            pb::Frame frame;
            frame.mutable_ping()->set_id(5);
            co_await dialed_->send(frame);
            while (accepted_.empty()) co_await asio::post(io_, asio::use_awaitable);
            const pb::Frame received = co_await accepted_[0]->receive();
            EXPECT_EQ(received.ping().id(), 5U);
            listener->close();
          }});
}

TEST_F(Dialing, TriesAgainUntilTheCoordinatorIsThere) {
  const uint16_t port = free_port();
  std::unique_ptr<Listener> listener;
  DialOptions options;
  options.first_pause = options.longest_pause = 10ms;
  run_all(io_, {[&]() -> asio::awaitable<void> {
                  co_await try_dial(port, "secret", options);
                  if (listener) listener->close();
                },
                [&]() -> asio::awaitable<void> {
                  asio::steady_timer timer(io_, 50ms);
                  co_await timer.async_wait(asio::use_awaitable);
                  listener = listen(port);
                }});
  EXPECT_EQ(failure_, "");
  EXPECT_TRUE(dialed_);
}

TEST_F(Dialing, GivesUpWithAReasonAndWhatToDo) {
  DialOptions options;
  options.redial_for = 30ms;
  options.first_pause = 10ms;
  const uint16_t port = free_port();
  run_all(io_, {[&] { return try_dial(port, "secret", options); }});
  EXPECT_FALSE(dialed_);
  EXPECT_THAT(failure_, HasSubstr("no coordinator at 127.0.0.1:" + std::to_string(port)));
  EXPECT_THAT(failure_, HasSubstr("Connection refused"));
  EXPECT_THAT(failure_, HasSubstr("--worker-port"));
}

TEST_F(Dialing, WithAnotherSecretFailsAtOnceAndNothingIsAccepted) {
  auto listener = listen();
  run_all(io_, {[&]() -> asio::awaitable<void> {
            co_await try_dial(listener->port(), "another");
            listener->close();
          }});
  EXPECT_THAT(failure_, testing::StartsWith("secret mismatch: "));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(Dialing, OfAPortInUseSaysWhatToDo) {
  auto first = listen();
  try {
    listen(first->port());
    FAIL() << "both listen";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("Address already in use; choose another --worker-host or --worker-port"));
  }
}

// Strangers that never speak hold no more than their share of sockets, and a group still gets in afterwards.
TEST_F(Dialing, GetsThroughAfterACrowdOfSilentStrangers) {
  ListenOptions options;
  options.pending_handshakes = 4;
  options.handshake_limit = 30ms;
  auto listener = listen(0, options);
  int hung_up = 0;
  run_all(io_, {[&]() -> asio::awaitable<void> {
            std::vector<tcp::socket> strangers;
            for (int i = 0; i < 20; ++i) {
              strangers.emplace_back(io_);
              co_await strangers.back().async_connect(
                  tcp::endpoint(asio::ip::address_v4::loopback(), listener->port()), asio::use_awaitable);
            }
            for (tcp::socket& stranger : strangers) {
              char byte = 0;
              boost::system::error_code end;
              co_await asio::async_read(stranger, asio::buffer(&byte, 1),
                                        asio::redirect_error(asio::use_awaitable, end));
              if (end) ++hung_up;
            }
            co_await try_dial(listener->port(), "secret");
            listener->close();
          }});
  EXPECT_EQ(hung_up, 20);
  EXPECT_EQ(failure_, "");
  EXPECT_TRUE(dialed_);
  EXPECT_EQ(accepted_.size(), 1U);
}

}  // namespace
}  // namespace batchmax::comm
