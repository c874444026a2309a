#include "coordinator/client/server_address.h"

#include <fmt/format.h>

#include <boost/url/parse.hpp>
#include <boost/url/scheme.hpp>
#include <boost/url/url_view.hpp>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace batchmax::coordinator {
namespace {

// A server takes a list of keys from the same variable.
std::string key_of(const ServerFlags& server, const std::map<std::string, std::string>& environment) {
  if (!server.api_key.empty()) return server.api_key;
  for (const char* variable : {"BATCHMAX_API_KEY", "OPENAI_API_KEY"}) {
    const auto found = environment.find(variable);
    if (found != environment.end() && !found->second.empty())
      return found->second.substr(0, found->second.find(','));
  }
  return {};
}

// Boost takes ports beyond 65535, cut to 16 bits.
bool is_port(std::string_view text) {
  uint16_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  return fault == std::errc() && end == text.data() + text.size() && number != 0;
}

}  // namespace

void add_server_flags(std::vector<Flag>& flags, ServerFlags& server) {
  std::vector<Flag> own;
  own.push_back(text_flag("url", "text", "The server: http:// or https://, host, port.", server.url));
  own.push_back(text_flag("api-key", "text",
                          "Key that the server asks for. The environment is the better place: other users "
                          "of a machine see command lines.",
                          server.api_key));
  own.back().environment = "BATCHMAX_API_KEY";
  own.push_back(text_flag("ca-file", "file",
                          "PEM file with the authority of an https server's certificate; empty: those that "
                          "the system trusts.",
                          server.ca_file));
  own.push_back(
      text_flag("model", "text", "The model's name; empty: the first that the server names.", server.model));
  add_section(flags, "Server", std::move(own));
}

ServerAddress resolve(const ServerFlags& server, const std::map<std::string, std::string>& environment) {
  const auto parsed = boost::urls::parse_uri(server.url);
  using boost::urls::scheme;
  const bool http = parsed && (parsed->scheme_id() == scheme::http || parsed->scheme_id() == scheme::https);
  if (!http || (parsed->has_port() && !is_port(parsed->port())) || parsed->encoded_host().empty() ||
      parsed->has_userinfo() || parsed->has_query() || parsed->has_fragment()) {
    throw UsageError(fmt::format(
        "--url: '{}' is not valid; expected http://HOST:PORT or https://HOST:PORT, with a path at most",
        server.url));
  }
  ServerAddress address;
  address.tls = parsed->scheme_id() == scheme::https;
  address.host = std::string(parsed->host_address());
  address.port = parsed->has_port() ? std::string(parsed->port()) : address.tls ? "443" : "80";
  address.authority = std::string(parsed->encoded_host_and_port());
  address.prefix = std::string(parsed->encoded_path());
  const auto cut = [&](std::string_view end) {
    if (address.prefix.ends_with(end)) address.prefix.resize(address.prefix.size() - end.size());
  };
  cut("/");
  cut("/v1");
  address.url = fmt::format("{}://{}{}", address.tls ? "https" : "http", address.authority, address.prefix);
  address.api_key = key_of(server, environment);
  address.ca_file = server.ca_file;
  return address;
}

}  // namespace batchmax::coordinator
