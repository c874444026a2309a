#include "coordinator/gateway/recent_requests.h"

namespace batchmax::coordinator {
namespace {

using Seconds = std::chrono::duration<double>;

const char* outcome_of(const GenerationRun& run) {
  if (run.error()) return "failed";
  return run.done() ? "done" : "left";
}

}  // namespace

void RecentRequests::add(RecentRequest request) {
  newest_.push_front(std::move(request));
  if (newest_.size() > kMost) newest_.pop_back();
}

RequestNote::RequestNote(RecentRequests& recent, const GenerationRun& run, const GenerationRequest& request,
                         std::string id)
    : recent_(recent), run_(run), request_(request), id_(std::move(id)) {}

RequestNote::~RequestNote() {
  RecentRequest made;
  made.id = std::move(id_);
  made.api = request_.api;
  made.stream = request_.stream;
  made.compression = request_.compression;
  made.ended_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  made.seconds = Seconds(std::chrono::steady_clock::now() - begin_).count();
  if (run_.first_token()) made.first_token_seconds = Seconds(*run_.first_token() - begin_).count();
  made.usage = run_.usage();
  made.figures = run_.figures();
  made.outcome = outcome_of(run_);
  recent_.add(std::move(made));
}

}  // namespace batchmax::coordinator
