#include "comm/transport/connection.h"

#include <gmock/gmock.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "tests/comm/transport/loopback.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using testing::HasSubstr;

pb::Frame tokens_frame(uint32_t index, int count = 1) {
  pb::Frame frame;
  frame.mutable_tokens()->set_index(index);
  for (int i = 0; i < count; ++i) frame.mutable_tokens()->add_ids(100000);
  return frame;
}

class Connections : public testing::Test {
 protected:
  void connect(ConnectionLimits limits = {}) {
    auto [a, b] = socket_pair(io_);
    left_ = Connection::make(make_tcp_channel(std::move(a)), limits);
    right_ = Connection::make(make_tcp_channel(std::move(b)), limits);
  }
  // Our side reads frames; the other is a plain socket that sends `bytes` and hangs up.
  std::string error_after(const std::string& bytes, size_t frame_bytes = 1000) {
    auto [a, b] = socket_pair(io_);
    ConnectionLimits limits;
    limits.frame_bytes = frame_bytes;
    auto ours = Connection::make(make_tcp_channel(std::move(a)), limits);
    tcp::socket other = std::move(b);
    std::string message;
    run_all(io_, {[&]() -> asio::awaitable<void> {
                    try {
                      for (;;) co_await ours->receive();
                    } catch (const ConnectionError& error) {
                      message = error.what();
                    }
                  },
                  [&]() -> asio::awaitable<void> {
                    co_await asio::async_write(other, asio::buffer(bytes), asio::use_awaitable);
                    other.close();
                  }});
    EXPECT_FALSE(ours->open());
    return message;
  }

  asio::io_context io_;
  std::shared_ptr<Connection> left_, right_;
};

TEST_F(Connections, CarryFramesInOrderBothWays) {
  connect();
  constexpr uint32_t kFrames = 2000;
  const auto write = [](std::shared_ptr<Connection> connection) -> asio::awaitable<void> {
    for (uint32_t i = 0; i < kFrames; ++i) {
      pb::Frame frame = tokens_frame(i, static_cast<int>(i % 97));
      co_await connection->send(std::move(frame));
    }
    co_await connection->flush();
  };
  const auto read = [](std::shared_ptr<Connection> connection) -> asio::awaitable<void> {
    for (uint32_t i = 0; i < kFrames; ++i) {
      const pb::Frame frame = co_await connection->receive();
      EXPECT_EQ(frame.tokens().index(), i);
      EXPECT_EQ(frame.tokens().ids_size(), static_cast<int>(i % 97));
    }
  };
  run_all(io_, {[&] { return write(left_); }, [&] { return read(right_); }, [&] { return write(right_); },
                [&] { return read(left_); }});
}

TEST_F(Connections, CarryAFrameLargerThanAnyBuffer) {
  connect();
  run_all(io_, {[&]() -> asio::awaitable<void> {
                  pb::Frame frame = tokens_frame(7, 3'000'000);
                  co_await left_->send(std::move(frame));
                },
                [&]() -> asio::awaitable<void> {
                  const pb::Frame frame = co_await right_->receive();
                  EXPECT_EQ(frame.tokens().ids_size(), 3'000'000);
                }});
}

TEST_F(Connections, EndAtAFrameThatIsTooLong) {
  // The length alone decides: the frame's bytes never come, and no memory is taken for them.
  EXPECT_THAT(error_after(std::string("\xff\xff\xff\xff", 4)), HasSubstr("4294967295 bytes; at most 1000"));
  EXPECT_THAT(error_after(std::string("\0\0\x03\xe9", 4)), HasSubstr("1001 bytes; at most 1000"));
}

TEST_F(Connections, EndAtHalfAFrame) {
  EXPECT_THAT(error_after(std::string("\0\0", 2)), HasSubstr("ended: End of file"));
  EXPECT_THAT(error_after(std::string("\0\0\0\x09"
                                      "abc",
                                      7)),
              HasSubstr("ended: End of file"));
}

TEST_F(Connections, EndAtAFrameThatIsNotReadable) {
  EXPECT_THAT(error_after(std::string("\0\0\0\x03\xff\xff\xff", 7)), HasSubstr("not readable"));
  EXPECT_THAT(error_after(std::string("\0\0\0\0", 4)), HasSubstr("not readable"));
}

TEST_F(Connections, HoldTheSenderBackWhenThePeerDoesNotRead) {
  ConnectionLimits limits;
  limits.queue_bytes = 100'000;
  connect(limits);
  // Until kernel buffers and queue are full.
  uint32_t sent = 0;
  bool full = false;
  const auto fill = [&]() -> asio::awaitable<void> {
    for (int round = 0; round < 1000 && !full; ++round) {
      while (left_->try_send(tokens_frame(sent, 3000))) ++sent;
      const uint32_t before = sent;
      // Let the writer hand what it can to the kernel.
      for (int i = 0; i < 20; ++i) co_await asio::post(io_, asio::use_awaitable);
      full = !left_->try_send(tokens_frame(sent, 3000));
      if (!full) ++sent;
      full = full && sent == before;
    }
    EXPECT_TRUE(full);
    // Now the reader starts, and this waits until there is room again.
    asio::co_spawn(
        io_,
        [&]() -> asio::awaitable<void> {
          for (uint32_t i = 0; i <= sent; ++i) {
            const pb::Frame frame = co_await right_->receive();
            EXPECT_EQ(frame.tokens().index(), i);
          }
        },
        [](std::exception_ptr error) { EXPECT_FALSE(error); });
    pb::Frame last = tokens_frame(sent, 3000);
    co_await left_->send(std::move(last));
  };
  run_all(io_, {fill});
}

TEST_F(Connections, WakeWhoWaitsWhenTheyAreClosed) {
  ConnectionLimits limits;
  limits.queue_bytes = 1;
  connect(limits);
  std::string received, sent;
  run_all(io_, {[&]() -> asio::awaitable<void> {
                  try {
                    co_await left_->receive();
                  } catch (const ConnectionError& error) {
                    received = error.what();
                  }
                },
                [&]() -> asio::awaitable<void> {
                  try {
                    for (uint32_t i = 0;; ++i) {
                      pb::Frame frame = tokens_frame(i, 100'000);
                      co_await left_->send(std::move(frame));
                    }
                  } catch (const ConnectionError& error) {
                    sent = error.what();
                  }
                },
                [&]() -> asio::awaitable<void> {
                  for (int i = 0; i < 100; ++i) co_await asio::post(io_, asio::use_awaitable);
                  left_->close();
                }});
  EXPECT_THAT(received, HasSubstr("was closed"));
  EXPECT_THAT(sent, HasSubstr("was closed"));
  EXPECT_FALSE(left_->try_send(tokens_frame(0)));
}

TEST_F(Connections, NoticeThatThePeerHasGone) {
  connect();
  std::string message;
  run_all(io_, {[&]() -> asio::awaitable<void> {
                  try {
                    co_await left_->receive();
                  } catch (const ConnectionError& error) {
                    message = error.what();
                  }
                },
                [&]() -> asio::awaitable<void> {
                  right_->close();
                  co_return;
                }});
  EXPECT_THAT(message, HasSubstr("ended: End of file"));
}

}  // namespace
}  // namespace batchmax::comm
