#include "coordinator/gateway/route_table.h"

#include <fmt/format.h>

namespace batchmax::coordinator {

RouteTable::RouteTable(ApiKeys api_keys, ApiKeys metrics_keys)
    : api_keys_(std::move(api_keys)), metrics_keys_(std::move(metrics_keys)) {}

void RouteTable::add(Route route) { routes_.push_back(std::move(route)); }

bool RouteTable::admitted(Access access, const HttpRequest& request) const {
  switch (access) {
    case Access::open:
      return true;
    case Access::api_key:
      return api_keys_.admits(request.authorization);
    case Access::metrics_key:
      return metrics_keys_.admits(request.authorization);
  }
  return false;
}

std::variant<const Route*, ApiError> RouteTable::find(const HttpRequest& request) const {
  const Route* found = nullptr;
  Access access = Access::api_key;
  bool path_known = false;
  for (const Route& route : routes_) {
    if (route.path != request.path) continue;
    path_known = true;
    access = route.access;
    if (route.method == request.method) found = &route;
  }
  if (!admitted(access, request)) {
    return ApiError{401, "invalid_api_key",
                    "The API key is missing or wrong: send 'Authorization: Bearer KEY'.", "", 0};
  }
  if (found != nullptr) return found;
  if (path_known) {
    return ApiError{
        405, "method_not_allowed",
        fmt::format("{} does not take {}, but {}.", request.path, request.method, allowed(request.path)), "",
        0};
  }
  return ApiError{404, "not_found", fmt::format("There is no {}.", request.path.substr(0, 200)), "", 0};
}

std::string RouteTable::allowed(const std::string& path) const {
  std::string methods;
  for (const Route& route : routes_) {
    if (route.path != path) continue;
    methods += (methods.empty() ? "" : ", ") + route.method;
    if (route.method == "GET") methods += ", HEAD";
  }
  return methods;
}

}  // namespace batchmax::coordinator
