#include "coordinator/gateway/api_error.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "monitoring/check.h"

namespace batchmax::coordinator {
namespace {

const char* type_of(int status) {
  if (status == 401) return "authentication_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

ApiError invalid_field(std::string param, std::string message) {
  return {400, "invalid_value", std::move(message), std::move(param), 0};
}

ApiError error_of(const Rejection& rejection, int retry_after) {
  switch (rejection.kind) {
    case Rejection::Kind::queue_full:
      return {503, "queue_full", rejection.message, "", retry_after};
    case Rejection::Kind::no_group:
      return {503, "no_group", rejection.message, "", retry_after};
    case Rejection::Kind::draining:
      return {503, "draining", rejection.message, "", retry_after};
    case Rejection::Kind::never_fits:
      return {400, "kv_memory_exceeded", rejection.message, "max_tokens", 0};
  }
  CHECK(false);
  return {};
}

ApiError error_of(const HttpFault& fault) { return {fault.status, fault.code, fault.message, "", 0}; }

std::string error_json(const ApiError& error) {
  boost::json::object inner;
  inner["message"] = error.message;
  inner["type"] = type_of(error.status);
  if (error.param.empty()) {
    inner["param"] = nullptr;
  } else {
    inner["param"] = error.param;
  }
  inner["code"] = error.code;
  boost::json::object outer;
  outer["error"] = std::move(inner);
  return boost::json::serialize(outer);
}

HttpAnswer error_answer(const ApiError& error) {
  HttpAnswer answer;
  answer.status = error.status;
  answer.body = error_json(error);
  if (error.retry_after > 0) answer.fields.emplace_back("Retry-After", std::to_string(error.retry_after));
  if (error.status == 401) answer.fields.emplace_back("WWW-Authenticate", "Bearer");
  return answer;
}

}  // namespace batchmax::coordinator
