// The coordinator's worker port: accepts, shakes hands, hands over connections that have proven the secret.
// Strangers cost a bounded number of sockets for a bounded time and never reach the caller. Owned and used on
// the executor's one thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/transport/connection.h"
#include "comm/transport/tls.h"
#include "monitoring/log.h"

namespace batchmax::comm {

struct ListenOptions {
  std::chrono::milliseconds handshake_limit{5000};  // of TLS, and of the secret's
  int pending_handshakes = 64;                      // more are closed at once
  ConnectionLimits limits;
  TlsContext tls;  // null: plain TCP
};

class Listener {
 public:
  // Port 0: any free one. Throws std::runtime_error that says what to do when the address cannot be had.
  Listener(boost::asio::any_io_executor executor, const std::string& host, uint16_t port, std::string secret,
           ListenOptions options, monitoring::Log log);
  ~Listener();  // closes
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  uint16_t port() const;
  void start(std::function<void(std::shared_ptr<Connection>)> on_connection);
  void close();  // no call of on_connection after this

 private:
  class State;
  std::shared_ptr<State> state_;  // shared with the coroutines that wait
};

}  // namespace batchmax::comm
