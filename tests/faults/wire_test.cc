// Coordinator and groups in one process, a proxy that breaks their connections between them: cut, cut within
// a frame, half open, late, byte by byte. 200 faults while clients read streams; every token is compared with
// what must come.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "coordinator/routing/cluster.h"
#include "monitoring/metrics.h"
#include "tests/faults/in_process_group.h"
#include "tests/support/fault_proxy.h"

namespace batchmax {
namespace {

namespace asio = boost::asio;
using coordinator::TokenChunk;
using coordinator::TokenEnd;
using testing::FaultProxy;
using namespace std::chrono_literals;

constexpr int kGroups = 4;
constexpr int kFaultsPerGroup = 50;
constexpr int kClients = 12;

class WireTest : public ::testing::Test {
 protected:
  WireTest() {
    settings_.tensor_parallel_size = 2;
    settings_.max_num_seqs = 16;
    settings_.migration_limit = 1000;  // of one request; here it must end all the same
    settings_.compression.budget = 64;
    settings_.compression.block = 16;
    cluster_ = std::make_unique<coordinator::Cluster>(io_.get_executor(), settings_, "secret", metrics_,
                                                      monitoring::Log::silent());
    const uint16_t port = cluster_->listen();
    worker::ChainOptions chain;
    chain.layers = 1;
    for (int i = 0; i < kGroups; ++i) {
      proxies_.push_back(std::make_unique<FaultProxy>(io_.get_executor(), port));
      config::Settings own = settings_;
      own.worker_port = proxies_.back()->port();
      groups_.push_back(
          std::make_unique<worker::InProcessGroup>(own, "g" + std::to_string(i), "secret", chain));
    }
  }

  int pick(int least, int most) {
    return least + static_cast<int>(random_() % static_cast<uint32_t>(most - least + 1));
  }
  asio::awaitable<void> pause(std::chrono::milliseconds time) {
    asio::steady_timer timer(io_, time);
    co_await timer.async_wait(asio::use_awaitable);
  }

  asio::awaitable<void> break_connections(FaultProxy& proxy) {
    for (int i = 0; i < kFaultsPerGroup; ++i) {
      co_await pause(std::chrono::milliseconds(pick(20, 300)));
      switch (i % 10) {
        case 0:
          proxy.half_open(1500ms);
          co_await pause(1500ms);
          break;
        case 1:
        case 2:
          proxy.delay(std::chrono::milliseconds(pick(50, 700)));
          break;
        case 3:
        case 4:
          proxy.dribble(static_cast<size_t>(pick(100, 3000)));
          break;
        case 5:
        case 6:
          proxy.cut();
          break;
        default:
          proxy.cut_within(static_cast<size_t>(pick(0, 200)));
      }
    }
    --breaking_;
  }

  asio::awaitable<void> stream_answers() {
    while (breaking_ > 0) {
      coordinator::TokenRequest request;
      for (int i = pick(1, 100); i > 0; --i) request.tokens.push_back(pick(0, worker::kChainVocabulary - 1));
      request.max_tokens = pick(20, 200);
      request.compression = std::get<config::Compression>(
          config::resolve(settings_.compression, std::nullopt, static_cast<config::Mode>(pick(0, 2))));
      const std::vector<int32_t> expected = worker::chain_after(request.tokens, request.max_tokens);
      auto answer = cluster_->submit(std::move(request));
      if (std::holds_alternative<coordinator::Rejection>(answer)) {  // before the first group has joined
        co_await pause(10ms);
        continue;
      }
      auto& handle = std::get<coordinator::RequestHandle>(answer);
      std::vector<int32_t> got;
      for (;;) {
        const coordinator::TokenEvent event = co_await handle.next();
        if (const auto* chunk = std::get_if<TokenChunk>(&event)) {
          got.insert(got.end(), chunk->ids.begin(), chunk->ids.end());
        } else if (const auto* end = std::get_if<TokenEnd>(&event)) {
          EXPECT_EQ(end->reason, coordinator::FinishReason::length) << end->error;
          break;
        }
      }
      EXPECT_EQ(got, expected);
      ++answers_;
    }
    --reading_;
  }

  asio::io_context io_;
  std::mt19937 random_{11};
  config::Settings settings_;
  monitoring::Metrics metrics_{"chain"};
  std::unique_ptr<coordinator::Cluster> cluster_;
  std::vector<std::unique_ptr<FaultProxy>> proxies_;
  std::vector<std::unique_ptr<worker::InProcessGroup>> groups_;
  int breaking_ = kGroups;
  int reading_ = kClients;
  int answers_ = 0;
};

TEST_F(WireTest, TwoHundredFaultsCostNoToken) {
  for (auto& proxy : proxies_) asio::co_spawn(io_, break_connections(*proxy), asio::detached);
  for (int i = 0; i < kClients; ++i) asio::co_spawn(io_, stream_answers(), asio::detached);
  const auto end = std::chrono::steady_clock::now() + 240s;
  while (reading_ > 0 && std::chrono::steady_clock::now() < end) io_.run_one_for(100ms);
  EXPECT_EQ(reading_, 0) << "a stream hangs";
  EXPECT_GT(answers_, 100);
  RecordProperty("answers", answers_);
  cluster_->close();
  io_.run_for(500ms);  // the groups hear that they may end
  proxies_.clear();
  cluster_.reset();
  io_.run_for(100ms);
  groups_.clear();
}

}  // namespace
}  // namespace batchmax
