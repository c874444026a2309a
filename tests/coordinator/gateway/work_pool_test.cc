#include "coordinator/gateway/work_pool.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <thread>

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;

class WorkPoolTest : public testing::Test {
 protected:
  ~WorkPoolTest() override { loop_thread_.join(); }
  template <typename Work>
  std::future<int> run(Work work) {
    return asio::co_spawn(loop_, pool_.run(std::move(work)), asio::use_future);
  }
  void start() {
    loop_thread_ = std::thread([this] { loop_.run(); });
  }
  asio::io_context loop_;
  WorkPool pool_{1};
  std::thread loop_thread_;
};

TEST_F(WorkPoolTest, BringsValuesAndExceptionsBack) {
  auto value = run([] { return 7; });
  auto failure = run([]() -> int { throw std::runtime_error("no"); });
  start();
  EXPECT_EQ(value.get(), 7);
  EXPECT_THROW(failure.get(), std::runtime_error);
}

TEST_F(WorkPoolTest, DoesNoWorkThatWaitedWhenItWasClosed) {
  std::promise<void> begun, go_on;
  bool done = false;
  auto first = run([&] {
    begun.set_value();
    go_on.get_future().wait();
    return 1;
  });
  auto second = run([&] {
    done = true;
    return 2;
  });
  start();
  begun.get_future().wait();
  pool_.close();
  go_on.set_value();
  EXPECT_EQ(first.get(), 1);
  EXPECT_THROW(second.get(), PoolClosed);
  EXPECT_FALSE(done);
}

}  // namespace
}  // namespace batchmax::coordinator
