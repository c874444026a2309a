// A cluster that does what a test says: answers with a script, holds requests open, refuses, fails. Lives on
// the gateway's event loop; the counters may be read from the test's thread.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "coordinator/gateway/token_backend.h"

namespace batchmax::coordinator {

class FakeBackend final : public TokenBackend {
 public:
  // The events of a request. Where the last is no TokenEnd the request stays open.
  using Script = std::function<std::deque<TokenEvent>(const TokenRequest&)>;

  explicit FakeBackend(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {
    facts.max_model_len = 4096;
    facts.vocab_size = 8192;
    facts.eos_ids = {0, 2};
    facts.kv_bytes_per_slot = 1000;
    facts.capacity_pages = 200;
  }

  // Set before requests come.
  ModelFacts facts;
  bool has_model = true;
  std::optional<Rejection> rejection;
  std::vector<GroupStatus> statuses;
  int32_t waiting = 0;
  Script script;
  std::chrono::milliseconds pace{0};  // between events

  std::atomic<bool> healthy{true};
  std::atomic<int> open{0};  // requests that have neither ended nor been dropped
  std::atomic<int> submitted{0};
  std::atomic<int> stopped{0};    // by stop()
  std::atomic<int> abandoned{0};  // dropped before their end, not stopped

  std::vector<TokenRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  std::variant<std::unique_ptr<TokenSource>, Rejection> submit(TokenRequest request) override {
    if (rejection) return *rejection;
    auto source = std::make_unique<Source>(*this, script(request));
    const std::lock_guard lock(mutex_);
    requests_.push_back(std::move(request));
    ++submitted;
    return source;
  }
  std::optional<ModelFacts> model() const override {
    if (!has_model) return std::nullopt;
    return facts;
  }
  int32_t healthy_groups() const override { return healthy ? 1 : 0; }
  std::vector<GroupStatus> groups() const override { return statuses; }
  int32_t requests_waiting() const override { return waiting; }
  boost::asio::awaitable<bool> health(std::chrono::milliseconds) override { co_return healthy.load(); }

 private:
  class Source final : public TokenSource {
   public:
    Source(FakeBackend& backend, std::deque<TokenEvent> events)
        : backend_(backend), events_(std::move(events)), timer_(backend.executor_) {
      ++backend_.open;
    }
    ~Source() override {
      if (ended_) return;
      --backend_.open;
      if (!stopped_) ++backend_.abandoned;
    }
    boost::asio::awaitable<TokenEvent> next() override {
      timer_.expires_after(backend_.pace);
      if (events_.empty()) timer_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await timer_.async_wait(boost::asio::use_awaitable);
      TokenEvent event = std::move(events_.front());
      events_.pop_front();
      if (std::holds_alternative<TokenEnd>(event)) {
        ended_ = true;
        --backend_.open;
      }
      co_return event;
    }
    void stop() override {
      stopped_ = true;
      ++backend_.stopped;
    }

   private:
    FakeBackend& backend_;
    std::deque<TokenEvent> events_;
    boost::asio::steady_timer timer_;
    bool ended_ = false;
    bool stopped_ = false;
  };

  boost::asio::any_io_executor executor_;
  mutable std::mutex mutex_;
  std::vector<TokenRequest> requests_;
};

}  // namespace batchmax::coordinator
