// The leader's way to its coordinator: connect, shake hands, try again while the coordinator is not there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/transport/connection.h"
#include "comm/transport/tls.h"
#include "monitoring/log.h"

namespace batchmax::comm {

struct DialOptions {
  std::chrono::milliseconds redial_for{30000};  // counted from the call; 0: one try
  std::chrono::milliseconds first_pause{100};   // between tries; doubles up to the longest
  std::chrono::milliseconds longest_pause{1000};
  std::chrono::milliseconds connect_limit{5000};
  std::chrono::milliseconds handshake_limit{5000};  // of TLS, and of the secret's
  ConnectionLimits limits;
  TlsContext tls;        // null: plain TCP
  std::string tls_name;  // whom the coordinator's certificate must name
};

// Runs on the executor of the calling coroutine, which must be one thread. Throws HandshakeError at once when
// the secret does not match or the certificate is not trusted (waiting would not help), else
// std::runtime_error naming host, port and the last reason when `redial_for` is over.
boost::asio::awaitable<std::shared_ptr<Connection>> dial(std::string host, uint16_t port, std::string secret,
                                                         DialOptions options, monitoring::Log log);

}  // namespace batchmax::comm
