#include "comm/transport/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <cstring>

#include "comm/transport/deadline.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;

// The digit grows when this exchange changes.
constexpr std::array<unsigned char, 8> kMagic = {'B', 'A', 'T', 'C', 'H', 'M', 'X', '1'};
constexpr size_t kNonceBytes = 32;
constexpr size_t kCodeBytes = 32;
constexpr unsigned char kAccepted = 1;

using Nonce = std::array<unsigned char, kNonceBytes>;
using Code = std::array<unsigned char, kCodeBytes>;
using Greeting = std::array<unsigned char, kMagic.size() + kNonceBytes>;
using Verdict = std::array<unsigned char, 1 + kCodeBytes>;

Greeting make_greeting() {
  Greeting greeting;
  std::memcpy(greeting.data(), kMagic.data(), kMagic.size());
  if (RAND_bytes(greeting.data() + kMagic.size(), kNonceBytes) != 1) {
    throw std::runtime_error("OpenSSL has no random bytes");
  }
  return greeting;
}

Code code_of(std::string_view role, const Greeting& dialer, const Greeting& acceptor,
             std::string_view secret) {
  std::string text = "batchmax " + std::string(role) + " ";
  text.append(reinterpret_cast<const char*>(dialer.data()), dialer.size());
  text.append(reinterpret_cast<const char*>(acceptor.data()), acceptor.size());
  Code code;
  unsigned length = 0;
  if (HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), code.data(),
           &length) == nullptr ||
      length != code.size()) {
    throw std::runtime_error("OpenSSL has no HMAC-SHA-256");
  }
  return code;
}

bool equal(const unsigned char* a, const Code& b) { return CRYPTO_memcmp(a, b.data(), b.size()) == 0; }

HandshakeError mismatch(const Channel& channel, const std::string& what) {
  return HandshakeError(HandshakeError::Kind::secret_mismatch,
                        "secret mismatch: " + channel.remote() + " " + what +
                            "; coordinator and groups must read the same --secret-file or BATCHMAX_SECRET");
}

void check_magic(const Channel& channel, const Greeting& greeting) {
  if (std::memcmp(greeting.data(), kMagic.data(), kMagic.size()) == 0) return;
  throw HandshakeError(HandshakeError::Kind::not_a_peer,
                       channel.remote() +
                           " does not speak this version of batchmax's worker protocol; check host "
                           "and port, and that both sides are of one version and use TLS, or neither");
}

asio::awaitable<void> dial_side(Channel& channel, std::string_view secret) {
  const Greeting mine = make_greeting();
  co_await channel.write_all(asio::buffer(mine));
  Greeting theirs;
  co_await channel.read_exactly(asio::buffer(theirs));
  check_magic(channel, theirs);
  const Code proof = code_of("dialer", mine, theirs, secret);
  co_await channel.write_all(asio::buffer(proof));
  Verdict verdict;
  co_await channel.read_exactly(asio::buffer(verdict));
  if (verdict[0] != kAccepted) throw mismatch(channel, "does not accept this side's secret");
  if (!equal(verdict.data() + 1, code_of("acceptor", mine, theirs, secret))) {
    throw mismatch(channel, "could not prove that it knows the secret");
  }
}

asio::awaitable<void> accept_side(Channel& channel, std::string_view secret) {
  Greeting theirs;
  co_await channel.read_exactly(asio::buffer(theirs));
  check_magic(channel, theirs);
  const Greeting mine = make_greeting();
  co_await channel.write_all(asio::buffer(mine));
  Code proof;
  co_await channel.read_exactly(asio::buffer(proof));
  const bool proven = equal(proof.data(), code_of("dialer", theirs, mine, secret));
  Verdict verdict{};
  if (proven) {
    verdict[0] = kAccepted;
    const Code code = code_of("acceptor", theirs, mine, secret);
    std::memcpy(verdict.data() + 1, code.data(), code.size());
  }
  co_await channel.write_all(asio::buffer(verdict));
  if (!proven) throw mismatch(channel, "could not prove that it knows the secret");
}

}  // namespace

asio::awaitable<void> shake_hands(Channel& channel, Role role, std::string_view secret,
                                  std::chrono::milliseconds time_limit) {
  const Deadline deadline(channel, time_limit);
  try {
    if (role == Role::dialer) {
      co_await dial_side(channel, secret);
    } else {
      co_await accept_side(channel, secret);
    }
  } catch (const HandshakeError&) {
    channel.close();
    throw;
  } catch (const boost::system::system_error& error) {
    channel.close();
    if (deadline.expired()) {
      throw HandshakeError(HandshakeError::Kind::too_slow, channel.remote() +
                                                               " did not finish the handshake within " +
                                                               std::to_string(time_limit.count()) + " ms");
    }
    throw HandshakeError(HandshakeError::Kind::lost,
                         channel.remote() + " ended the handshake: " + error.code().message() +
                             (role == Role::dialer ? "; both sides must use TLS, or neither" : ""));
  }
}

}  // namespace batchmax::comm
