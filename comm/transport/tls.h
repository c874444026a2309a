// TLS, for whoever wants it: contexts made from PEM files at start, and channels over them. The shared secret
// is proven inside as it is without: TLS hides the frames and proves the coordinator's name, the secret
// proves both sides. Contexts are shared by the connections of one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "comm/transport/channel.h"

namespace batchmax::comm {

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;  // null: no TLS

// Of the side that listens: TLS 1.2 or newer. `certificates`: its own, then those that lead to the authority;
// `key` empty: in the same file. Null where `certificates` is empty. Throws std::runtime_error that names
// flag and file: prefix "ssl" is for --ssl-certfile and --ssl-keyfile.
TlsContext listening_tls(const std::string& prefix, const std::string& certificates, const std::string& key);

// Of the side that dials, which takes only certificates that lead to one of `authorities`; a certificate that
// stands there itself is enough. Null where `authorities` is empty. Throws as above: --PREFIX-ca-certs.
TlsContext dialing_tls(const std::string& prefix, const std::string& authorities);

// TLS's own handshake, within `time_limit`. Throws HandshakeError, and the connection is closed then.
boost::asio::awaitable<std::unique_ptr<Channel>> accept_tls(boost::asio::ip::tcp::socket socket,
                                                            TlsContext context,
                                                            std::chrono::milliseconds time_limit);
// The certificate must be for `name`, a host name or an address.
boost::asio::awaitable<std::unique_ptr<Channel>> dial_tls(boost::asio::ip::tcp::socket socket,
                                                          TlsContext context, std::string name,
                                                          std::chrono::milliseconds time_limit);

}  // namespace batchmax::comm
