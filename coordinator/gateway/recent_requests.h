// The newest completion requests that have ended, without their text: counts, times, memory. For the page
// that people look at. Event loop only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "config/compression.h"
#include "coordinator/gateway/generation_run.h"

namespace batchmax::coordinator {

struct RecentRequest {
  std::string id;  // x-request-id
  Api api = Api::completion;
  bool stream = false;
  config::Compression compression;
  int64_t ended_ms = 0;                       // Unix time
  double seconds = 0;                         // from the checked request to the end of its answer
  std::optional<double> first_token_seconds;  // empty: none came
  Usage usage;
  KvFigures figures;
  const char* outcome = "";  // done, failed, or left: the client went before the end
};

class RecentRequests {
 public:
  static constexpr size_t kMost = 20;

  void add(RecentRequest request);
  const std::deque<RecentRequest>& newest() const { return newest_; }  // the newest first

 private:
  std::deque<RecentRequest> newest_;
};

// Writes one request down when it goes out of scope, which it does however the request ends. Refers to all
// that it is given.
class RequestNote {
 public:
  RequestNote(RecentRequests& recent, const GenerationRun& run, const GenerationRequest& request,
              std::string id);
  ~RequestNote();
  RequestNote(const RequestNote&) = delete;
  RequestNote& operator=(const RequestNote&) = delete;

 private:
  RecentRequests& recent_;
  const GenerationRun& run_;
  const GenerationRequest& request_;
  std::string id_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace batchmax::coordinator
