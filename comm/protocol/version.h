// Constants of the protocol that both sides must agree on. Messages: messages.proto.
#pragma once

#include <chrono>
#include <cstdint>

namespace batchmax::comm {

// Grows with every change of messages.proto that the other side must know of. Hello carries it; the
// coordinator refuses any other.
inline constexpr uint32_t kProtocolVersion = 2;

// A leader sends a Heartbeat this often; a coordinator that misses so many in a row gives the group up for
// dead.
inline constexpr std::chrono::milliseconds kHeartbeatInterval{250};
inline constexpr int kHeartbeatsMissed = 4;

}  // namespace batchmax::comm
