// When a group that ended is started again, and when that is given up. Pure; time is passed in by the
// caller's waiting.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace batchmax::coordinator {

class RestartPolicy {
 public:
  // What is known of the start that has just ended.
  struct Start {
    bool was_healthy = false;     // it answered at least once
    bool served_request = false;  // it finished a request
    bool cannot_succeed = false;  // its own word: the same start will fail again
  };

  // The wait before the next start: 1, 2, 4 ... 30 s, from 1 s again after a start that served a request.
  // Empty: give up, after 5 starts in a row that never became healthy, or one that cannot succeed where none
  // was healthy before (the memory of a group that died may not be free yet).
  std::optional<std::chrono::seconds> after_exit(const Start& start);

 private:
  bool ever_healthy_ = false;
  int failed_in_a_row_ = 0;
  std::chrono::seconds next_{1};
};

}  // namespace batchmax::coordinator
