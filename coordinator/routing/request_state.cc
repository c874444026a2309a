#include "coordinator/routing/request_state.h"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "monitoring/check.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

// A reader that falls behind gets later tokens together; memory stays that of the tokens.
constexpr size_t kSeparateEvents = 64;

}  // namespace

RequestHandle::State::State(const asio::any_io_executor& executor, monitoring::TimePoint accepted_at,
                            std::function<void(FinishReason)> on_leave)
    : accepted(accepted_at),
      arrived_(executor, asio::steady_timer::time_point::max()),
      leave_(std::move(on_leave)) {}

void RequestHandle::State::push(TokenEvent event) {
  const auto* chunk = std::get_if<TokenChunk>(&event);
  if (std::holds_alternative<TokenEnd>(event)) leave_ = nullptr;
  TokenChunk* last = events_.empty() ? nullptr : std::get_if<TokenChunk>(&events_.back());
  if (chunk != nullptr && last != nullptr && events_.size() >= kSeparateEvents) {
    last->ids.insert(last->ids.end(), chunk->ids.begin(), chunk->ids.end());
    last->logprobs.insert(last->logprobs.end(), chunk->logprobs.begin(), chunk->logprobs.end());
  } else {
    events_.push_back(std::move(event));
  }
  arrived_.cancel();
}

void RequestHandle::State::abandon() {
  if (!leave_) return;
  TokenEnd end;
  end.reason = FinishReason::error;
  end.error = "The server is shutting down.";
  push(std::move(end));
}

asio::awaitable<TokenEvent> RequestHandle::State::next() {
  while (events_.empty()) {
    CHECK(leave_);  // there is an end to wait for
    boost::system::error_code woken;
    co_await arrived_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      throw boost::system::system_error(asio::error::operation_aborted);
    }
  }
  TokenEvent event = std::move(events_.front());
  events_.pop_front();
  co_return event;
}

void RequestHandle::State::leave(FinishReason reason) {
  if (const auto on_leave = std::exchange(leave_, nullptr)) on_leave(reason);
}

RequestHandle::RequestHandle(std::shared_ptr<State> state) : state_(std::move(state)) {}
RequestHandle::RequestHandle(RequestHandle&&) noexcept = default;
RequestHandle& RequestHandle::operator=(RequestHandle&& other) noexcept {
  if (this != &other) {
    if (state_) state_->leave(FinishReason::abort);
    state_ = std::move(other.state_);
  }
  return *this;
}
RequestHandle::~RequestHandle() {
  if (state_) state_->leave(FinishReason::abort);
}

asio::awaitable<TokenEvent> RequestHandle::next() {
  const std::shared_ptr<State> state = state_;
  TokenEvent event = co_await state->next();
  co_return event;
}

void RequestHandle::stop() {
  if (state_) state_->leave(FinishReason::stop);
}

}  // namespace batchmax::coordinator
