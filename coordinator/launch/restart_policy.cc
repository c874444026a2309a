#include "coordinator/launch/restart_policy.h"

#include <algorithm>

namespace batchmax::coordinator {

std::optional<std::chrono::seconds> RestartPolicy::after_exit(const Start& start) {
  constexpr int kMaxFailures = 5;
  constexpr std::chrono::seconds kLongest{30};
  ever_healthy_ = ever_healthy_ || start.was_healthy;
  failed_in_a_row_ = start.was_healthy ? 0 : failed_in_a_row_ + 1;
  if (failed_in_a_row_ >= kMaxFailures || (start.cannot_succeed && !ever_healthy_)) return std::nullopt;
  if (start.served_request) next_ = std::chrono::seconds(1);
  const auto wait = next_;
  next_ = std::min(next_ * 2, kLongest);
  return wait;
}

}  // namespace batchmax::coordinator
