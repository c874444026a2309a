// POST /v1/completions and /v1/chat/completions: prepares the request, submits its choices, and answers whole
// or as a stream of server-sent events. Event loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <list>
#include <set>
#include <string>

#include "config/settings.h"
#include "coordinator/gateway/answer_json.h"
#include "coordinator/gateway/random_source.h"
#include "coordinator/gateway/recent_requests.h"
#include "coordinator/gateway/reply.h"
#include "coordinator/gateway/request_preparer.h"
#include "coordinator/gateway/token_backend.h"
#include "coordinator/gateway/work_pool.h"
#include "monitoring/log.h"

namespace batchmax::coordinator {

class GenerationEndpoint {
 public:
  struct Parts {
    boost::asio::any_io_executor executor;
    const config::Settings& settings;
    TokenBackend& backend;
    const RequestPreparer& preparer;
    WorkPool& pool;
    RandomSource& random;
    RecentRequests& recent;
    monitoring::Log log;
  };
  explicit GenerationEndpoint(Parts parts);

  boost::asio::awaitable<void> serve(Api api, HttpRequest& request, Reply& reply);
  // Every request that runs ends with this error, those that come are answered 503.
  void shut_down(const std::string& reason);

 private:
  using Sources = std::vector<std::unique_ptr<TokenSource>>;

  // One request per choice, in GenerationRun's order.
  std::variant<Sources, ApiError> submit(const PreparedRequest& prepared, const ModelFacts& facts);
  // Of a request that was not taken. Where it asks for more choices than could run and wait if nothing else
  // did, trying again would be in vain.
  ApiError not_taken(const Rejection& rejection, const PreparedRequest& prepared, const ModelFacts& facts);
  boost::asio::awaitable<void> stream(GenerationRun& run, AnswerFrame frame, const GenerationRequest& request,
                                      Reply& reply);
  boost::asio::awaitable<void> whole(GenerationRun& run, AnswerFrame frame, Reply& reply);
  void note_unknown_fields(const std::vector<std::string>& names);
  ApiError failure(const GenerationRun& run) const;
  int retry_after() { return parts_.random.retry_after(); }

  Parts parts_;
  std::list<TokenStream*> running_;
  std::optional<std::string> shut_down_;
  std::set<std::string> unknown_seen_;  // at most kUnknownNames
};

}  // namespace batchmax::coordinator
