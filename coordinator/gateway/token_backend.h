// What the gateway needs of the cluster, so that it can be tested without one. Event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "coordinator/routing/cluster.h"
#include "coordinator/routing/token_request.h"

namespace batchmax::coordinator {

// One running or queued request; destroying it before its TokenEnd cancels it.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  // The next event; none after a TokenEnd. Ends with operation_aborted when its coroutine is cancelled.
  virtual boost::asio::awaitable<TokenEvent> next() = 0;
  // Cancels it as a request that has all it wants rather than one that was left. No event follows.
  virtual void stop() = 0;
};

class TokenBackend {
 public:
  virtual ~TokenBackend() = default;
  virtual std::variant<std::unique_ptr<TokenSource>, Rejection> submit(TokenRequest request) = 0;
  virtual std::optional<ModelFacts> model() const = 0;  // empty until a group has said Hello
  virtual int32_t healthy_groups() const = 0;
  virtual std::vector<GroupStatus> groups() const = 0;
  virtual int32_t requests_waiting() const = 0;  // for pages or a group
  virtual boost::asio::awaitable<bool> health(std::chrono::milliseconds timeout) = 0;
};

// The real one. Refers to the cluster.
class ClusterBackend final : public TokenBackend {
 public:
  explicit ClusterBackend(Cluster& cluster) : cluster_(cluster) {}
  std::variant<std::unique_ptr<TokenSource>, Rejection> submit(TokenRequest request) override;
  std::optional<ModelFacts> model() const override;
  int32_t healthy_groups() const override;
  std::vector<GroupStatus> groups() const override;
  int32_t requests_waiting() const override;
  boost::asio::awaitable<bool> health(std::chrono::milliseconds timeout) override;

 private:
  Cluster& cluster_;
};

}  // namespace batchmax::coordinator
