#include "bench/scale/clients.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <string_view>

namespace batchmax::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);

// About a hundred tokens.
const std::string kPrompt = [] {
  std::string text;
  for (int i = 0; i < 12; ++i) text += "The rain had stopped before they came home. ";
  return text;
}();

// Counts what it looks for over pieces of a stream, where a piece may end in the middle.
class Counter {
 public:
  explicit Counter(std::string_view wanted) : wanted_(wanted) {}
  int add(std::string_view piece) {
    rest_ += piece;
    int found = 0;
    size_t from = 0;
    for (size_t at; (at = rest_.find(wanted_, from)) != std::string::npos; from = at + wanted_.size())
      ++found;
    rest_.erase(0, std::max(from, rest_.size() - std::min(rest_.size(), wanted_.size() - 1)));
    return found;
  }

 private:
  std::string_view wanted_;
  std::string rest_;
};

}  // namespace

void Clients::start() { asio::co_spawn(executor_, arrive(), asio::detached); }

asio::awaitable<void> Clients::arrive() {
  asio::steady_timer timer(executor_, std::chrono::steady_clock::now());
  const auto between = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(plan_.ramp_seconds / plan_.streams));
  for (int client = 0; client < plan_.streams; ++client) {
    asio::co_spawn(executor_, run(), asio::detached);
    timer.expires_at(timer.expiry() + between);
    co_await timer.async_wait(kQuiet);
  }
}

std::string Clients::request(bool first) {
  const uint64_t seed = next_seed_++;
  const auto varied = static_cast<int>(seed * 37 % static_cast<uint64_t>(plan_.least_tokens));
  const int tokens = first ? 1 + varied : plan_.least_tokens + varied;
  const std::string body =
      fmt::format(R"({{"prompt": "{}", "max_tokens": {}, "seed": {}, "stream": true, "ignore_eos": true}})",
                  kPrompt, tokens, seed);
  return fmt::format(
      "POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      body.size(), body);
}

asio::awaitable<void> Clients::run() {
  tcp::socket socket(executor_);
  const auto [refused] =
      co_await socket.async_connect({asio::ip::address_v4::loopback(), plan_.port}, kQuiet);
  bool good = !refused, first = true, had_one = false;
  std::string piece(4096, 0);
  while (good) {
    const std::string asked = request(first);
    first = false;
    const auto [unsent, written] = co_await asio::async_write(socket, asio::buffer(asked), kQuiet);
    good = !unsent;
    Counter events("data: {"), ends("data: [DONE]\n\n\r\n0\r\n\r\n");
    for (bool ended = false; good && !ended;) {
      const auto [lost, size] = co_await socket.async_read_some(asio::buffer(piece), kQuiet);
      const std::string_view got(piece.data(), size);
      const int tokens = events.add(got);
      tokens_ += tokens;
      if (tokens > 0 && !std::exchange(had_one, true)) ++streaming_;
      ended = ends.add(got) > 0;
      good = !lost;
    }
  }
  ++failed_;
}

}  // namespace batchmax::bench
