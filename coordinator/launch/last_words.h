// Keeps what a group printed lately and picks the line that says why it ended. One thread.
#pragma once

#include <deque>
#include <string>
#include <string_view>

namespace batchmax::coordinator {

class LastWords {
 public:
  void add(std::string_view line);
  // The worker's own error line where there is one ("batchmax-worker: ..."), else the last error of its log,
  // else the last line that is not mpirun's own framing; empty where nothing was printed.
  std::string reason() const;

 private:
  std::deque<std::string> lines_;
};

}  // namespace batchmax::coordinator
