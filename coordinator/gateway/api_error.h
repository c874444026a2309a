// What a client did wrong, or what we could not do, as the OpenAI API says it. Values; any thread.
#pragma once

#include <string>

#include "coordinator/gateway/http_message.h"
#include "coordinator/routing/cluster.h"

namespace batchmax::coordinator {

struct ApiError {
  int status = 400;
  std::string code;     // stable word, for programs
  std::string message;  // for people: what is wrong and what would work
  std::string param;    // the field, empty where it is none
  int retry_after = 0;  // seconds; 0: no Retry-After
};

ApiError invalid_field(std::string param, std::string message);
// 503s carry the seconds after which to try again.
ApiError error_of(const Rejection& rejection, int retry_after);
ApiError error_of(const HttpFault& fault);

// {"error": {"message", "type", "param", "code"}}
std::string error_json(const ApiError& error);
HttpAnswer error_answer(const ApiError& error);

}  // namespace batchmax::coordinator
