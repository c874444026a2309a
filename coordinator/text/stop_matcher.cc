#include "coordinator/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace batchmax::coordinator {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& text : stops) {
    Stop stop{text, std::vector<size_t>(text.size(), 0), 0};
    for (size_t i = 1, matched = 0; i < text.size(); ++i) {
      while (matched > 0 && text[i] != text[matched]) matched = stop.fallback[matched - 1];
      if (text[i] == text[matched]) ++matched;
      stop.fallback[i] = matched;
    }
    stops_.push_back(std::move(stop));
  }
}

std::string StopMatcher::add(std::string_view text) {
  if (stopped_) return {};
  if (stops_.empty()) return std::string(text);
  for (const char c : text) {
    held_ += c;
    size_t longest = 0;
    for (Stop& stop : stops_) {
      while (stop.matched > 0 && c != stop.text[stop.matched]) stop.matched = stop.fallback[stop.matched - 1];
      if (c == stop.text[stop.matched]) ++stop.matched;
      if (stop.matched == stop.text.size()) longest = std::max(longest, stop.matched);
    }
    if (longest > 0) {
      stopped_ = true;
      held_.resize(held_.size() - longest);
      return std::exchange(held_, {});
    }
  }
  size_t open = 0;
  for (const Stop& stop : stops_) open = std::max(open, stop.matched);
  std::string certain = held_.substr(0, held_.size() - open);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace batchmax::coordinator
