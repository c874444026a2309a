// Server-sent events: bytes as they come → the data of each event. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

class EventReader {
 public:
  // The data of the events that these bytes complete; comments and other fields are skipped, lines of one
  // event are joined by a newline. Throws std::runtime_error where an event is larger than 16 MiB.
  std::vector<std::string> add(std::string_view bytes);

 private:
  void take_line(std::string_view line, std::vector<std::string>& events);

  std::string line_;  // begun, its end not yet seen
  std::string data_;  // of the event that has begun
  bool has_data_ = false;
};

}  // namespace batchmax::coordinator
