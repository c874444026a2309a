#include "coordinator/client/event_reader.h"

#include <stdexcept>
#include <utility>

namespace batchmax::coordinator {
namespace {

constexpr size_t kMostBytes = 16 * 1024 * 1024;

}  // namespace

std::vector<std::string> EventReader::add(std::string_view bytes) {
  std::vector<std::string> events;
  for (size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
    line_.append(bytes.substr(0, end));
    if (line_.ends_with('\r')) line_.pop_back();
    take_line(std::exchange(line_, {}), events);
  }
  line_.append(bytes);
  if (line_.size() + data_.size() > kMostBytes)
    throw std::runtime_error("the server sends an event of more than 16 MiB");
  return events;
}

void EventReader::take_line(std::string_view line, std::vector<std::string>& events) {
  if (line.empty()) {
    if (std::exchange(has_data_, false)) events.push_back(std::exchange(data_, {}));
    return;
  }
  if (!line.starts_with("data:")) return;
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (std::exchange(has_data_, true)) data_ += '\n';
  data_ += line;
}

}  // namespace batchmax::coordinator
