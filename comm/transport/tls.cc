#include "comm/transport/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "comm/transport/deadline.h"
#include "comm/transport/handshake.h"
#include "comm/transport/stream_channel.h"

namespace batchmax::comm {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using TlsChannel = StreamChannel<ssl::stream<tcp::socket>>;

void check_readable(const std::string& flag, const std::string& file) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (stream && stream.peek() != std::ifstream::traits_type::eof()) return;
  throw std::runtime_error(flag + " " + file + ": " +
                           (errno == 0 ? "the file is empty" : std::strerror(errno)));
}

[[noreturn]] void refuse(const std::string& flag, const std::string& file, const std::string& expected,
                         const boost::system::error_code& why) {
  throw std::runtime_error(flag + " " + file + " cannot be used (" + why.message() + "): it must hold " +
                           expected);
}

TlsContext make_context(ssl::context::method method) {
  auto context = std::make_shared<ssl::context>(method);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  return context;
}

HandshakeError failure(const Channel& channel, SSL* tls, const boost::system::error_code& error) {
  const long verdict = SSL_get_verify_result(tls);
  if (verdict != X509_V_OK) {
    return HandshakeError(HandshakeError::Kind::untrusted,
                          "the certificate of " + channel.remote() +
                              " is not trusted: " + X509_verify_cert_error_string(verdict) +
                              "; it must lead to --worker-ssl-ca-certs and be for --worker-ssl-server-name");
  }
  return HandshakeError(HandshakeError::Kind::lost,
                        channel.remote() + " ended the TLS handshake: " + error.message() +
                            (SSL_is_server(tls) != 0 ? "" : "; both sides must use TLS, or neither"));
}

asio::awaitable<std::unique_ptr<Channel>> shake(std::unique_ptr<TlsChannel> channel,
                                                ssl::stream_base::handshake_type side,
                                                std::chrono::milliseconds time_limit) {
  const Deadline deadline(*channel, time_limit);
  boost::system::error_code error;
  co_await channel->stream().async_handshake(side, asio::redirect_error(asio::use_awaitable, error));
  if (!error) co_return std::move(channel);
  channel->close();
  if (deadline.expired()) {
    throw HandshakeError(HandshakeError::Kind::too_slow, channel->remote() +
                                                             " did not finish the TLS handshake within " +
                                                             std::to_string(time_limit.count()) + " ms");
  }
  throw failure(*channel, channel->stream().native_handle(), error);
}

}  // namespace

TlsContext listening_tls(const std::string& prefix, const std::string& certificates, const std::string& key) {
  if (certificates.empty()) return nullptr;
  const std::string certificate_flag = "--" + prefix + "-certfile";
  const std::string key_flag = key.empty() ? certificate_flag : "--" + prefix + "-keyfile";
  const std::string& key_file = key.empty() ? certificates : key;
  check_readable(certificate_flag, certificates);
  check_readable(key_flag, key_file);
  const TlsContext context = make_context(ssl::context::tls_server);
  boost::system::error_code error;
  // OpenSSL would ask on the terminal.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return std::string(); });
  context->use_certificate_chain_file(certificates, error);
  if (error) refuse(certificate_flag, certificates, "a certificate in PEM form", error);
  context->use_private_key_file(key_file, ssl::context::pem, error);
  if (error) {
    refuse(key_flag, key_file,
           "the private key of the certificate in " + certificates + ", in PEM form without a pass phrase",
           error);
  }
  return context;
}

TlsContext dialing_tls(const std::string& prefix, const std::string& authorities) {
  if (authorities.empty()) return nullptr;
  const std::string flag = "--" + prefix + "-ca-certs";
  check_readable(flag, authorities);
  const TlsContext context = make_context(ssl::context::tls_client);
  boost::system::error_code error;
  context->load_verify_file(authorities, error);
  if (error) refuse(flag, authorities, "certificates in PEM form", error);
  context->set_verify_mode(ssl::verify_peer);
  X509_STORE_set_flags(SSL_CTX_get_cert_store(context->native_handle()), X509_V_FLAG_PARTIAL_CHAIN);
  return context;
}

asio::awaitable<std::unique_ptr<Channel>> accept_tls(tcp::socket socket, TlsContext context,
                                                     std::chrono::milliseconds time_limit) {
  auto channel = std::make_unique<TlsChannel>(std::move(socket), *context);
  co_return co_await shake(std::move(channel), ssl::stream_base::server, time_limit);
}

asio::awaitable<std::unique_ptr<Channel>> dial_tls(tcp::socket socket, TlsContext context, std::string name,
                                                   std::chrono::milliseconds time_limit) {
  auto channel = std::make_unique<TlsChannel>(std::move(socket), *context);
  SSL* tls = channel->stream().native_handle();
  boost::system::error_code no_address;
  asio::ip::make_address(name, no_address);
  if (no_address) {
    SSL_set_tlsext_host_name(tls, name.c_str());
    SSL_set1_host(tls, name.c_str());
  } else {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), name.c_str());
  }
  co_return co_await shake(std::move(channel), ssl::stream_base::client, time_limit);
}

}  // namespace batchmax::comm
