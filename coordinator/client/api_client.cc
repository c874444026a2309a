// The only file of this room that includes Beast.
#include "coordinator/client/api_client.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <chrono>
#include <set>
#include <utility>

#include "coordinator/client/event_reader.h"

namespace batchmax::coordinator {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAnswer = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kConnectTimeout(10);
constexpr size_t kMostBytes = 64 * 1024 * 1024;  // of an answer that is read whole

// The message of {"error": {"message": ...}}, on one line; empty where the body is something else.
std::string message_in(std::string_view body) {
  error_code error;
  const auto value = boost::json::parse({body.data(), body.size()}, error);
  if (error) return {};
  const auto* message = value.find_pointer("/error/message", error);
  if (error || message == nullptr || !message->is_string()) return {};
  return std::string(message->get_string());
}

std::string refusal(const std::string& url, unsigned status, std::string_view body) {
  std::string text = message_in(body);
  const bool explained = !text.empty();
  if (!explained) text = fmt::format("{} answers with HTTP status {}", url, status);
  // What is added goes on with the sentence.
  while (text.ends_with('.') || text.ends_with('\n')) text.pop_back();
  if (status == 401 || status == 403) return text + "; give a key: BATCHMAX_API_KEY=KEY or --api-key KEY";
  if (status == 404 && !explained) return text + ": no server with OpenAI's API? check --url";
  if (status == 503 || status == 429) return text + "; try again later";
  return text;
}

// What came of an answer: its status and, unless a stream is handed on, its body.
struct Answer {
  unsigned status = 0;
  std::string body;
};
using OnBytes = std::function<bool(std::string_view)>;  // of a 200 answer; false: enough

template <typename Stream>
asio::awaitable<Answer> talk(Stream& stream, http::request<http::string_body>& request,
                             const OnBytes& on_bytes, const std::string& url) {
  // A server that refuses a large request answers before it has read it all: then the answer counts, not
  // that writing failed.
  const auto [write_error, written] = co_await http::async_write(stream, request, kAnswer);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  Answer answer;
  while (!parser.is_done()) {
    const auto [error, count] = co_await http::async_read_some(stream, buffer, parser, kAnswer);
    if (error) {
      const error_code cause = write_error ? write_error : error;
      if (cause.category() == http::make_error_code(http::error::bad_version).category() &&
          cause != http::error::end_of_stream && cause != http::error::partial_message) {
        throw ClientError(fmt::format("what answers at {} speaks no HTTP ({}): check --url, http or https",
                                      url, cause.message()));
      }
      throw ClientError(
          fmt::format("{} closed the connection before the answer was complete ({})", url, cause.message()));
    }
    if (!parser.is_header_done()) continue;
    answer.status = parser.get().result_int();
    const std::string piece = std::exchange(parser.get().body(), {});
    if (answer.status == 200 && on_bytes) {
      if (!on_bytes(piece)) break;
    } else {
      answer.body += piece;
      if (answer.body.size() > kMostBytes)
        throw ClientError(fmt::format("{} sends more than 64 MiB: check --url", url));
    }
  }
  co_return answer;
}

}  // namespace

struct ApiClient::Transport {
  asio::any_io_executor executor;
  ServerAddress address;
  asio::ssl::context tls{asio::ssl::context::tls_client};
  tcp::resolver resolver{executor};
  std::set<beast::tcp_stream*> open;  // of the requests that run

  Transport(asio::any_io_executor executor_, ServerAddress address_)
      : executor(std::move(executor_)), address(std::move(address_)) {
    if (!address.tls) return;
    tls.set_verify_mode(asio::ssl::verify_peer);
    error_code error;
    if (address.ca_file.empty()) {
      tls.set_default_verify_paths(error);
    } else {
      tls.load_verify_file(address.ca_file, error);
    }
    if (error) {
      throw ClientError(fmt::format("--ca-file: no certificate can be read from '{}' ({})", address.ca_file,
                                    error.message()));
    }
  }

  asio::awaitable<void> connect(beast::tcp_stream& stream) {
    const auto [unknown, endpoints] = co_await resolver.async_resolve(address.host, address.port, kAnswer);
    if (unknown) {
      throw ClientError(
          fmt::format("the host of {} is not known ({}): check --url", address.url, unknown.message()));
    }
    stream.expires_after(kConnectTimeout);
    const auto [error, endpoint] = co_await stream.async_connect(endpoints, kAnswer);
    if (error) {
      throw ClientError(
          fmt::format("nobody answers at {} ({}): start a server with batchmax serve MODEL, or name another "
                      "with --url",
                      address.url, error.message()));
    }
    stream.socket().set_option(tcp::no_delay(true));
    stream.socket().set_option(asio::socket_base::keep_alive(true));
  }

  asio::awaitable<void> handshake(asio::ssl::stream<beast::tcp_stream>& stream) {
    X509_VERIFY_PARAM* rules = SSL_get0_param(stream.native_handle());
    if (X509_VERIFY_PARAM_set1_ip_asc(rules, address.host.c_str()) == 0) {
      X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      X509_VERIFY_PARAM_set1_host(rules, address.host.c_str(), 0);
      SSL_set_tlsext_host_name(stream.native_handle(), address.host.c_str());
    }
    const auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAnswer);
    if (!error) co_return;
    const long verdict = SSL_get_verify_result(stream.native_handle());
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
      throw ClientError(fmt::format(
          "the certificate of {} is for another host: write the name it is for in --url", address.url));
    }
    if (verdict != X509_V_OK) {
      throw ClientError(
          fmt::format("the certificate of {} is not trusted ({}): name its authority with --ca-file FILE",
                      address.url, X509_verify_cert_error_string(verdict)));
    }
    throw ClientError(
        fmt::format("no TLS at {} ({}): does the server speak http?", address.url, error.message()));
  }

  asio::awaitable<Answer> exchange(http::verb verb, std::string path, std::string body, OnBytes on_bytes) {
    http::request<http::string_body> request(verb, address.prefix + path, 11);
    request.set(http::field::host, address.authority);
    request.set(http::field::user_agent, "batchmax");
    request.set(http::field::connection, "close");
    if (!address.api_key.empty()) request.set(http::field::authorization, "Bearer " + address.api_key);
    if (verb == http::verb::post) {
      request.set(http::field::content_type, "application/json");
      request.body() = std::move(body);
      request.prepare_payload();
    }
    asio::ssl::stream<beast::tcp_stream> stream(executor, tls);
    beast::tcp_stream& plain = stream.next_layer();
    struct Open {
      std::set<beast::tcp_stream*>& all;
      beast::tcp_stream* mine;
      ~Open() { all.erase(mine); }
    } guard{open, &plain};
    open.insert(&plain);
    co_await connect(plain);
    if (address.tls) co_await handshake(stream);
    plain.expires_never();  // an answer takes as long as it takes
    Answer answer;
    if (address.tls) {
      answer = co_await talk(stream, request, on_bytes, address.url);
    } else {
      answer = co_await talk(plain, request, on_bytes, address.url);
    }
    if (answer.status != 200) throw ClientError(refusal(address.url, answer.status, answer.body));
    co_return answer;
  }
};

ApiClient::ApiClient(asio::any_io_executor executor, ServerAddress address)
    : transport_(std::make_unique<Transport>(std::move(executor), std::move(address))) {}

ApiClient::~ApiClient() = default;

asio::awaitable<std::string> ApiClient::get(std::string path) {
  Answer answer = co_await transport_->exchange(http::verb::get, std::move(path), {}, nullptr);
  co_return std::move(answer.body);
}

asio::awaitable<void> ApiClient::stream(std::string path, std::string body,
                                        std::function<void(std::string_view)> on_event) {
  EventReader reader;
  bool done = false;
  const OnBytes on_bytes = [&](std::string_view bytes) {
    for (const std::string& event : reader.add(bytes)) {
      if (done) break;
      if (event == "[DONE]") {
        done = true;
      } else if (const std::string error = message_in(event); !error.empty()) {
        throw ClientError(error);
      } else {
        on_event(event);
      }
    }
    return !done;
  };
  co_await transport_->exchange(http::verb::post, std::move(path), std::move(body), on_bytes);
  if (!done) throw ClientError("the server ended the stream before the answer was complete");
}

void ApiClient::cancel() {
  transport_->resolver.cancel();
  for (beast::tcp_stream* stream : transport_->open) stream->close();
}

std::string find_model(const ServerAddress& server, const std::string& given) {
  if (!given.empty()) return given;
  asio::io_context loop(1);
  ApiClient client(loop.get_executor(), server);
  auto answer = asio::co_spawn(loop, client.get("/v1/models"), asio::use_future);
  loop.run();
  const std::string body = answer.get();
  error_code error;
  const auto value = boost::json::parse(body, error);
  const auto* id = error ? nullptr : value.find_pointer("/data/0/id", error);
  if (id == nullptr || !id->is_string())
    throw ClientError("the server names no model: name one with --model");
  return std::string(id->get_string());
}

}  // namespace batchmax::coordinator
