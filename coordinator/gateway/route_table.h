// The one list of what can be asked for. Whatever is not in it is refused. Built once; event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/gateway/api_error.h"
#include "coordinator/gateway/api_keys.h"
#include "coordinator/gateway/http_message.h"
#include "coordinator/gateway/reply.h"

namespace batchmax::coordinator {

enum class Access : uint8_t { open, api_key, metrics_key };

// May drop the request's body. Must send or stream exactly one answer. Cancelled (Asio, terminal) when the
// client leaves.
using Handler = std::function<boost::asio::awaitable<void>(HttpRequest&, Reply&)>;

struct Route {
  std::string method;  // GET or POST; a POST carries JSON
  std::string path;
  Access access;
  Handler handler;
};

class RouteTable {
 public:
  RouteTable(ApiKeys api_keys, ApiKeys metrics_keys);

  void add(Route route);
  // The route, or 401, 404, 405 in this order: without a key nobody learns which paths there are.
  std::variant<const Route*, ApiError> find(const HttpRequest& request) const;
  // "GET, HEAD": for the Allow field of a 405.
  std::string allowed(const std::string& path) const;

 private:
  bool admitted(Access access, const HttpRequest& request) const;

  ApiKeys api_keys_;
  ApiKeys metrics_keys_;
  std::vector<Route> routes_;
};

}  // namespace batchmax::coordinator
