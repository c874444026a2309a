#include "coordinator/gateway/token_stream.h"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <deque>

#include "monitoring/check.h"

namespace batchmax::coordinator {

namespace asio = boost::asio;

class TokenStream::State {
 public:
  State(const asio::any_io_executor& executor, std::vector<std::unique_ptr<TokenSource>> requests,
        size_t capacity)
      : arrived(executor),
        space(executor),
        sources(std::move(requests)),
        stops(sources.size()),
        ended(sources.size(), false),
        capacity_(capacity) {
    space.expires_at(std::chrono::steady_clock::time_point::max());  // only ever cancelled
  }

  bool full() const { return tokens_ >= capacity_; }

  void push(size_t choice, TokenEvent event) {
    if (ended[choice]) return;
    ended[choice] = std::holds_alternative<TokenEnd>(event);
    tokens_ += weight(event);
    queue_.push_back({choice, std::move(event)});
    arrived.cancel();
  }

  std::optional<Event> pop() {
    if (queue_.empty()) return std::nullopt;
    Event event = std::move(queue_.front());
    queue_.pop_front();
    tokens_ -= weight(event.event);
    if (!full()) space.cancel();
    return event;
  }

  void drop(size_t choice) {
    ended[choice] = true;
    std::erase_if(queue_, [&](const Event& event) {
      if (event.choice != choice) return false;
      tokens_ -= weight(event.event);
      return true;
    });
    stops[choice].emit(asio::cancellation_type::terminal);
    space.cancel();
  }

  asio::steady_timer arrived;                         // what next() waits on
  asio::steady_timer space;                           // what the pumps wait on
  std::vector<std::unique_ptr<TokenSource>> sources;  // null once their pump has ended
  std::deque<asio::cancellation_signal> stops;
  std::vector<bool> ended;

 private:
  static size_t weight(const TokenEvent& event) {
    const auto* chunk = std::get_if<TokenChunk>(&event);
    return chunk == nullptr ? 0 : chunk->ids.size();
  }

  std::deque<Event> queue_;
  size_t tokens_ = 0;
  size_t capacity_;
};

namespace {

// The end of the pump, by whatever way, frees the request.
template <typename State>
asio::awaitable<void> pump(std::shared_ptr<State> state, size_t choice) {
  struct Free {
    std::unique_ptr<TokenSource>& source;
    ~Free() { source.reset(); }
  };
  const Free free{state->sources[choice]};
  while (!state->ended[choice]) {
    TokenEvent event = co_await state->sources[choice]->next();
    while (state->full() && !state->ended[choice] && std::holds_alternative<TokenChunk>(event)) {
      boost::system::error_code ignored;
      co_await state->space.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    state->push(choice, std::move(event));
  }
}

}  // namespace

TokenStream::TokenStream(asio::any_io_executor executor, std::vector<std::unique_ptr<TokenSource>> sources,
                         size_t capacity)
    : state_(std::make_shared<State>(executor, std::move(sources), capacity)) {
  for (size_t i = 0; i < state_->sources.size(); ++i) {
    asio::co_spawn(executor, pump(state_, i),
                   asio::bind_cancellation_slot(
                       state_->stops[i].slot(), [state = state_, i](const std::exception_ptr& failure) {
                         if (!failure) return;
                         std::string reason = "the request failed";
                         try {
                           std::rethrow_exception(failure);
                         } catch (const boost::system::system_error& error) {
                           if (error.code() == asio::error::operation_aborted && state->ended[i]) return;
                           reason = error.what();
                         } catch (const std::exception& error) {
                           reason = error.what();
                         }
                         TokenEnd end;
                         end.reason = FinishReason::error;
                         end.error = reason;
                         state->push(i, end);
                       }));
  }
}

TokenStream::~TokenStream() {
  for (size_t i = 0; i < state_->ended.size(); ++i) state_->drop(i);
}

asio::awaitable<std::optional<TokenStream::Event>> TokenStream::next(
    std::chrono::steady_clock::duration patience) {
  const std::shared_ptr<State> state = state_;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    std::optional<Event> event = state->pop();
    if (event || std::chrono::steady_clock::now() >= deadline) co_return event;
    state->arrived.expires_at(deadline);
    boost::system::error_code ignored;
    co_await state->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

std::optional<TokenStream::Event> TokenStream::poll() { return state_->pop(); }

void TokenStream::stop(size_t choice) {
  if (state_->sources[choice]) state_->sources[choice]->stop();
  state_->drop(choice);
}

void TokenStream::fail(const std::string& reason) {
  for (size_t i = 0; i < state_->ended.size(); ++i) {
    if (state_->ended[i]) continue;
    TokenEnd end;
    end.reason = FinishReason::error;
    end.error = reason;
    state_->push(i, end);
    state_->stops[i].emit(asio::cancellation_type::terminal);
  }
}

}  // namespace batchmax::coordinator
