// The cluster as the gateway sees it: submit a token request, read its events, drop the handle to cancel it.
// Owns registry, admission queue and the connections to the groups. Everything here runs on the one event
// loop.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/settings.h"
#include "coordinator/routing/model_facts.h"
#include "coordinator/routing/token_request.h"
#include "monitoring/log.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

// One running or queued request. Move-only. Destroying it before its TokenEnd cancels the request at once: it
// leaves the queue, or its group is told and frees its pages.
class RequestHandle {
 public:
  class State;
  explicit RequestHandle(std::shared_ptr<State> state);
  RequestHandle(RequestHandle&&) noexcept;
  RequestHandle& operator=(RequestHandle&&) noexcept;
  ~RequestHandle();

  // The next event. After a TokenEnd it must not be called again. One coroutine at a time. Honours Asio's
  // per-operation cancellation (terminal): throws system_error operation_aborted within one turn of the loop.
  boost::asio::awaitable<TokenEvent> next();

  // The caller has all it wants (a stop string was found): cancels like the destructor, but counts as `stop`
  // in the metrics, not as `abort`. No event follows.
  void stop();

 private:
  std::shared_ptr<State> state_;
};

// A group that has said Hello since the coordinator started, by name.
struct GroupStatus {
  std::string name;
  uint64_t epoch = 0;
  bool connected = false;            // and heartbeats arrive
  bool healthy = false;              // connected, heartbeats arrive, every rank answered lately
  uint64_t requests_served = 0;      // that ended with stop or length since this epoch's Hello
  monitoring::GroupFigures figures;  // of its last Load; zeros: none in this epoch yet
};

class Cluster {
 public:
  Cluster(boost::asio::any_io_executor executor, const config::Settings& settings, std::string secret,
          monitoring::Metrics& metrics, monitoring::Log log);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Listens for groups on settings.worker_host:worker_port; returns the port.
  uint16_t listen();

  // REQUIRES at least one prompt token, max_tokens >= 1, compression resolved with settings.compression.
  std::variant<RequestHandle, Rejection> submit(TokenRequest request);

  std::optional<ModelFacts> model() const;  // empty until the first group said Hello
  int32_t healthy_groups() const;
  std::vector<GroupStatus> groups() const;
  // True after a round trip through every rank of at least one group within `timeout`.
  boost::asio::awaitable<bool> health(std::chrono::milliseconds timeout);

  // Groups still come and go, so that what runs can end.
  void stop_accepting();  // drain: submit() answers Rejection::draining from now on
  int32_t requests_open() const;
  int32_t requests_waiting() const;  // of those, in the queue
  void close();                      // tells the groups to drain and drops the connections

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace batchmax::coordinator
