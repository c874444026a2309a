// Before the first frame both sides prove that they know the secret, without sending it. Messages of fixed
// size, nothing is parsed or allocated for a stranger:
//   dialer   -> acceptor   magic, nonce d                                (8 + 32 bytes)
//   acceptor -> dialer     magic, nonce a                                (8 + 32)
//   dialer   -> acceptor   HMAC-SHA-256(secret, "dialer" d a)            (32)
//   acceptor -> dialer     verdict, HMAC-SHA-256(secret, "acceptor" d a) (1 + 32)
// Fresh nonces of both sides in each code keep old ones from being played back; the role in it keeps a code
// from being returned to its sender; the acceptor shows no code to a peer that has not shown its own. Codes
// are compared in constant time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "comm/transport/channel.h"

namespace batchmax::comm {

enum class Role : uint8_t { dialer, acceptor };

class HandshakeError : public std::runtime_error {
 public:
  enum class Kind : uint8_t {
    secret_mismatch,
    not_a_peer,  // something else speaks there
    too_slow,    // the time limit
    untrusted,   // TLS: its certificate proves nothing to us
    lost,        // the connection ended
  };
  HandshakeError(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

// Returns when each side has proven itself; throws HandshakeError, and the channel is closed then. The whole
// exchange may take `time_limit`.
boost::asio::awaitable<void> shake_hands(Channel& channel, Role role, std::string_view secret,
                                         std::chrono::milliseconds time_limit);

}  // namespace batchmax::comm
