// A few threads for work that would hold up the event loop: reading JSON, rendering templates, tokenizing.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <stdexcept>
#include <type_traits>

namespace batchmax::coordinator {

// What run() throws where the pool was closed before the work's turn came.
class PoolClosed : public std::runtime_error {
 public:
  PoolClosed() : std::runtime_error("the server is shutting down") {}
};

class WorkPool {
 public:
  explicit WorkPool(size_t threads) : pool_(threads) {}
  // Waits for the work that was begun: whatever that refers to may go only after the pool.
  ~WorkPool() { join(); }
  void join() { pool_.join(); }
  // Work that has begun goes on, what waits is not done any more.
  void close() { closed_ = true; }

  // work() on a thread of the pool; its value, or its exception, back on the caller's executor. Is not
  // cancelled: what it refers to stays alive because the caller waits to its end.
  template <typename Work, typename Result = std::invoke_result_t<Work>>
  boost::asio::awaitable<Result> run(Work work) {
    namespace asio = boost::asio;
    std::optional<Result> result;
    std::exception_ptr failure;
    auto executor = co_await asio::this_coro::executor;
    const auto initiate = [&](auto handler) {
      // The guard keeps the event loop running while nothing but this work is under way.
      asio::post(pool_, [this, &result, &failure, executor, guard = asio::make_work_guard(executor),
                         call = std::move(work), resume = std::move(handler)]() mutable {
        try {
          if (closed_) throw PoolClosed();
          result.emplace(call());
        } catch (...) {
          failure = std::current_exception();
        }
        asio::post(executor, std::move(resume));
      });
    };
    co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(initiate, asio::use_awaitable);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*result);
  }

 private:
  std::atomic<bool> closed_ = false;
  boost::asio::thread_pool pool_;
};

}  // namespace batchmax::coordinator
