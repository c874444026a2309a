#include "coordinator/launch/last_words.h"

namespace batchmax::coordinator {
namespace {

constexpr size_t kLines = 200;
constexpr std::string_view kWorker = "batchmax-worker: ";

bool is_framing(std::string_view line) {
  if (line.find_first_not_of("- \t") == std::string_view::npos) return true;
  for (const std::string_view words :
       {"mpirun detected that", "the job to be terminated", "Process name:", "Exit code:", "Primary job",
        "a non-zero exit", "mpirun noticed that process"}) {
    if (line.find(words) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

void LastWords::add(std::string_view line) {
  lines_.emplace_back(line);
  if (lines_.size() > kLines) lines_.pop_front();
}

std::string LastWords::reason() const {
  std::string logged, last;
  for (const std::string& line : lines_) {
    // The first rank that failed is the cause; the others end because of it.
    if (const size_t at = line.find(kWorker); at != std::string::npos)
      return line.substr(at + kWorker.size());
    if (line.find(" error ") != std::string::npos || line.find("\"level\":\"error\"") != std::string::npos)
      logged = line;
    if (!is_framing(line)) last = line;
  }
  return logged.empty() ? last : logged;
}

}  // namespace batchmax::coordinator
