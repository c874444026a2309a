#include "worker/model/step_timer.h"

#include <algorithm>
#include <chrono>

#include "kernels/core/event.h"

namespace batchmax::worker {
namespace {

constexpr double kNanosecond = 1e-9;

double seconds_between(monitoring::TimePoint begin, monitoring::TimePoint end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

double StepTiming::total_seconds(const int64_t* nanoseconds) const {
  if (nanoseconds == nullptr) return total;
  return kNanosecond * static_cast<double>(nanoseconds[1] - nanoseconds[0]);
}

double StepTiming::part_seconds(StepPart part, const int64_t* nanoseconds) const {
  if (nanoseconds == nullptr) return parts[static_cast<size_t>(part)];
  double seconds = 0;
  for (const Span& span : spans) {
    if (span.part != part) continue;
    seconds +=
        span.weight * kNanosecond * static_cast<double>(nanoseconds[span.last] - nanoseconds[span.first]);
  }
  return std::max(0.0, seconds);  // the device's clock ticks
}

StepTimer::Span::Span(StepTimer& timer, StepPart part, double weight)
    : timer_(timer), part_(part), weight_(weight), outer_(timer.open_), begin_(timer.clock_.now()) {
  if (weight_ == 0) return;
  timer_.open_ = this;
  if (timer_.marks_time()) first_ = timer_.mark();
}

StepTimer::Span::~Span() {
  if (weight_ == 0) return;
  timer_.open_ = outer_;
  StepTiming& timing = timer_.timing_;
  if (!timer_.marks_time()) {
    const double seconds = weight_ * seconds_between(begin_, timer_.clock_.now());
    timing.parts[static_cast<size_t>(part_)] += seconds;
    if (outer_ != nullptr) timing.parts[static_cast<size_t>(outer_->part_)] -= seconds;
    return;
  }
  const int32_t last = first_ < 0 ? -1 : timer_.mark();
  if (last < 0) return;
  timing.spans.push_back({part_, first_, last, weight_});
  if (outer_ != nullptr && outer_->first_ >= 0)
    timing.spans.push_back({outer_->part_, first_, last, -weight_});
}

StepTimer::Span StepTimer::measure(StepPart part, int32_t layer, int32_t layers) {
  if (!marks_time()) return Span(*this, part, 1);
  return Span(*this, part, layer == layers / 2 ? layers : 0);
}

void StepTimer::start() {
  forget();
  begin_ = clock_.now();
  if (marks_time()) kernels::mark_time(stream_, marks_);
}

StepTiming StepTimer::finish() {
  if (marks_time()) kernels::mark_time(stream_, marks_ + 1);
  timing_.total = seconds_between(begin_, clock_.now());
  return timing_;
}

void StepTimer::forget() {
  timing_ = {};
  next_mark_ = 2;
}

void StepTimer::replay(const StepTiming& graph) {
  for (const StepTiming::Span& span : graph.spans) {
    timing_.spans.push_back(span);
    next_mark_ = std::max(next_mark_, std::max(span.first, span.last) + 1);
  }
}

// mark_time launches; where the marks end, a step's last spans are not worth a larger buffer.
int32_t StepTimer::mark() {
  if (next_mark_ == kMarks) return -1;
  kernels::mark_time(stream_, marks_ + next_mark_);
  return next_mark_++;
}

}  // namespace batchmax::worker
