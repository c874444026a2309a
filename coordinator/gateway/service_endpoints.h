// The endpoints that generate nothing: models, tokenizing, health, metrics, version. Event loop only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <string>

#include "coordinator/gateway/reply.h"
#include "coordinator/gateway/request_preparer.h"
#include "coordinator/gateway/token_backend.h"
#include "coordinator/gateway/work_pool.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

class ServiceEndpoints {
 public:
  ServiceEndpoints(TokenBackend& backend, const RequestPreparer& preparer, WorkPool& pool,
                   monitoring::Metrics& metrics, std::string version);

  void drain() { draining_ = true; }  // /readyz says no from now on

  boost::asio::awaitable<void> models(Reply& reply);
  boost::asio::awaitable<void> model(Reply& reply);  // the one there is
  boost::asio::awaitable<void> tokenizer_info(Reply& reply);
  boost::asio::awaitable<void> tokenize(const HttpRequest& request, Reply& reply);
  boost::asio::awaitable<void> detokenize(const HttpRequest& request, Reply& reply);
  boost::asio::awaitable<void> health(Reply& reply);
  boost::asio::awaitable<void> live(Reply& reply);
  boost::asio::awaitable<void> ready(Reply& reply);
  boost::asio::awaitable<void> version(Reply& reply);
  boost::asio::awaitable<void> metrics(Reply& reply);

 private:
  boost::json::object described_model() const;

  TokenBackend& backend_;
  const RequestPreparer& preparer_;
  WorkPool& pool_;
  monitoring::Metrics& metrics_;
  std::string version_;
  int64_t started_;  // Unix seconds
  bool draining_ = false;
};

}  // namespace batchmax::coordinator
