// Which server a command talks to, and how. Values; pure.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "coordinator/client/flags.h"

namespace batchmax::coordinator {

// A flag that is well formed and cannot work all the same: exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What the user says.
struct ServerFlags {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  std::string ca_file;  // empty: the system's certificates
  std::string model;    // empty: the first that the server names
};
void add_server_flags(std::vector<Flag>& flags, ServerFlags& server);

// What that means.
struct ServerAddress {
  std::string url;  // as shown in messages: without a path's "/v1"
  bool tls = false;
  std::string host;       // to resolve: no brackets around IPv6
  std::string port;       // number or service name
  std::string authority;  // Host header
  std::string prefix;     // path before /v1, without a slash at its end
  std::string api_key;    // empty: none is sent
  std::string ca_file;
};

// http://HOST[:PORT][/PATH] or https://...; a path that ends in /v1, as other clients want it, is understood.
// Without --api-key the key is the first of BATCHMAX_API_KEY, else OPENAI_API_KEY. Throws UsageError
// that says what a URL must be.
ServerAddress resolve(const ServerFlags& server, const std::map<std::string, std::string>& environment);

}  // namespace batchmax::coordinator
