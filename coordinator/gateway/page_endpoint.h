// GET / and what belongs to it: the files of the page for people, and the figures that it shows. Event loop
// only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "coordinator/gateway/recent_requests.h"
#include "coordinator/gateway/reply.h"
#include "coordinator/gateway/request_preparer.h"
#include "coordinator/gateway/token_backend.h"
#include "coordinator/page/page_files.h"

namespace batchmax::coordinator {

class PageEndpoint {
 public:
  PageEndpoint(const TokenBackend& backend, const RequestPreparer& preparer,
               const config::CompressionSettings& compression, const RecentRequests& recent,
               std::string version);

  // With a policy that lets a browser run and load what comes from here, and nothing else.
  boost::asio::awaitable<void> file(const PageFile& file, Reply& reply);
  // Groups, queue, defaults and the newest requests, as JSON; no prompt, no text.
  boost::asio::awaitable<void> status(Reply& reply);

 private:
  const TokenBackend& backend_;
  const RequestPreparer& preparer_;
  const config::CompressionSettings compression_;
  const RecentRequests& recent_;
  std::string version_;
};

}  // namespace batchmax::coordinator
