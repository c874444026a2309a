// A real gateway on loopback over a fake cluster, its event loop in a thread of its own.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <functional>
#include <thread>

#include "coordinator/gateway/gateway.h"
#include "tests/coordinator/gateway/fake_backend.h"
#include "tests/coordinator/gateway/http_client.h"

namespace batchmax::coordinator {

class GatewayTest : public testing::Test {
 protected:
  GatewayTest() : metrics_("m"), backend_(loop_.get_executor()) {
    settings_.model = "/models/m";
    settings_.port = 0;
    backend_.script = [](const TokenRequest&) { return answer({1000, 1001, 1002}, FinishReason::length); };
  }
  ~GatewayTest() override {
    if (!thread_.joinable()) return;
    close();
    work_.reset();
    thread_.join();
  }

  // Call after settings and script are set.
  void start(TextTools text = tokenizer_only()) {
    gateway_ =
        std::make_unique<Gateway>(Gateway::Parts{loop_.get_executor(), settings_, backend_, text, metrics_,
                                                 monitoring::Log::silent(), 1, "0.0.0", tls_});
    port_ = gateway_->listen();
    work_.emplace(loop_.get_executor());
    thread_ = std::thread([this] { loop_.run(); });
  }
  // On the event loop, as main() would.
  void run_on_loop(std::function<void()> work) {
    asio_future([work = std::move(work)]() -> boost::asio::awaitable<void> {
      work();
      co_return;
    });
  }
  void close() {
    asio_future([this]() -> boost::asio::awaitable<void> { co_await gateway_->close(); });
  }

  static std::deque<TokenEvent> answer(std::vector<int32_t> ids, FinishReason reason) {
    std::deque<TokenEvent> events;
    for (const int32_t id : ids) events.push_back(TokenChunk{{id}});
    TokenEnd end;
    end.reason = reason;
    end.kv_bytes_held = 10;
    end.kv_bytes_peak = 20;
    end.tokens_evicted = 3;
    events.push_back(end);
    return events;
  }

  static const Tokenizer& tokenizer() {
    static const Tokenizer loaded = Tokenizer::load(std::string(BATCHMAX_SOURCE_DIR) + "/demo/longbook-17m");
    return loaded;
  }
  static TextTools tokenizer_only() { return {&tokenizer(), nullptr}; }

  ClientAnswer post(const std::string& path, const std::string& body, const std::string& fields = "") {
    HttpClient client(port_);
    client.post(path, body, fields);
    return client.read();
  }
  ClientAnswer get(const std::string& path, const std::string& fields = "") {
    HttpClient client(port_);
    client.get(path, fields);
    return client.read();
  }

  // Waits for something that another thread brings about; false after 20 s.
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  }

  boost::asio::io_context loop_{1};
  config::Settings settings_;
  monitoring::Metrics metrics_;
  FakeBackend backend_;
  std::shared_ptr<boost::asio::ssl::context> tls_;  // null: plain HTTP
  std::unique_ptr<Gateway> gateway_;
  uint16_t port_ = 0;

 private:
  template <typename Make>
  void asio_future(Make make) {
    // The coroutine refers to `make`, which outlives it because this waits.
    boost::asio::co_spawn(loop_, make(), boost::asio::use_future).get();
  }

  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::thread thread_;
};

}  // namespace batchmax::coordinator
