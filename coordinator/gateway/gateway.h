// The HTTP side of the coordinator: builds the endpoints, their routes and the server from what main() passes
// in. Everything runs on one event loop, but for the work pool's threads.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "config/settings.h"
#include "coordinator/gateway/request_preparer.h"
#include "coordinator/gateway/token_backend.h"
#include "monitoring/log.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

class Gateway {
 public:
  struct Parts {
    boost::asio::any_io_executor executor;
    const config::Settings& settings;
    TokenBackend& backend;
    TextTools text;
    monitoring::Metrics& metrics;
    monitoring::Log log;
    uint64_t random_seed = 0;
    std::string version;
    std::shared_ptr<boost::asio::ssl::context> tls;  // null: plain HTTP
  };
  explicit Gateway(Parts parts);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Binds and begins to answer; returns the port. Throws std::runtime_error saying what to do.
  uint16_t listen();

  // Not ready from now on; connections close after their answer. New requests are refused by the backend.
  void drain();
  int32_t requests_open() const;
  // Ends what still runs with an honest error, waits a moment for the answers to leave, then closes all
  // connections.
  boost::asio::awaitable<void> close();

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

// The model's name as clients see it: served_model_name, or the folder's name.
std::string served_name(const config::Settings& settings);

}  // namespace batchmax::coordinator
