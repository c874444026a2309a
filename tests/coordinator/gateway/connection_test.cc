// What clients that do not read can make the server hold.
#include "coordinator/gateway/connection.h"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>

#include "coordinator/gateway/token_stream.h"
#include "tests/coordinator/gateway/completion_fixture.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

TEST(Connection, HoldsLittleForAClientThatDoesNotRead) {
  constexpr size_t kUnsent = 64 * 1024, kSlack = 256 * 1024;
  asio::io_context loop;
  tcp::acceptor acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  tcp::socket client(loop);
  client.open(tcp::v4());
  client.set_option(asio::socket_base::receive_buffer_size(4096));
  client.connect(acceptor.local_endpoint());
  std::exception_ptr failure;
  const auto write = [&](tcp::socket socket) -> asio::awaitable<void> {
    Connection connection(std::move(socket), kUnsent);
    const std::string bytes(16 << 20, 'x');
    co_await connection.write(bytes, Seconds(0.2));
  };
  asio::co_spawn(loop, write(acceptor.accept()), [&](std::exception_ptr error) { failure = error; });
  loop.run();
  EXPECT_THROW(std::rethrow_exception(failure), ClientGone);
  std::string received;
  boost::system::error_code end;
  asio::read(client, asio::dynamic_buffer(received), end);
  EXPECT_GT(received.size(), size_t{0});
  EXPECT_LT(received.size(), kUnsent + kSlack);
}

// A chunk of HTTP is what was formatted at a time: one event may go beyond the bound, no more.
TEST_F(Completion, FormatsNoMoreThanTheBufferOfAStream) {
  settings_.stream_buffer_bytes = 2000;
  backend_.script = [](const TokenRequest&) {
    std::deque<TokenEvent> events = answer({}, FinishReason::length);
    events.push_front(TokenChunk{std::vector<int32_t>(200, 1000)});
    return events;
  };
  start();
  HttpClient client(port_);
  client.post("/v1/completions", R"({"prompt": [5], "max_tokens": 200, "stream": true})");
  const std::string bytes = client.wait_for("\r\n0\r\n\r\n");
  size_t events = 0, chunks = 0;
  for (size_t at = bytes.find("\r\n\r\n") + 4;;) {
    const size_t size = std::stoul(bytes.substr(at), nullptr, 16);
    if (size == 0) break;
    EXPECT_LT(size, 2000u + 400u);
    at = bytes.find("\r\n", at) + 2 + size + 2;
    ++chunks;
  }
  for (size_t at = 0; (at = bytes.find("data: ", at)) != std::string::npos; ++at) ++events;
  EXPECT_EQ(events, 202u);  // 200 tokens, the end, [DONE]
  EXPECT_GT(chunks, 1u);
}

// Tokens that a stream does not take stay where max_tokens bounds them.
TEST(TokenStream, TakesNoMoreThanItsCapacity) {
  class Endless final : public TokenSource {
   public:
    explicit Endless(int& taken) : taken_(taken) {}
    asio::awaitable<TokenEvent> next() override {
      ++taken_;
      co_return TokenChunk{{7}};
    }
    void stop() override {}

   private:
    int& taken_;
  };
  asio::io_context loop;
  int taken = 0;
  std::vector<std::unique_ptr<TokenSource>> sources;
  sources.push_back(std::make_unique<Endless>(taken));
  TokenStream stream(loop.get_executor(), std::move(sources), 8);
  loop.poll();
  EXPECT_EQ(taken, 9);  // one more waits at the door
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(stream.poll().has_value());
  loop.poll();
  EXPECT_EQ(taken, 14);
}

}  // namespace
}  // namespace batchmax::coordinator
