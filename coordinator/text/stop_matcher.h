// Finds the first stop string in a stream of text and holds back whatever might still become one. The cut
// does not depend on how the text is divided: it is at the match that is complete first, the longest of those
// that end together. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

class StopMatcher {
 public:
  // stops: none empty, valid UTF-8.
  explicit StopMatcher(const std::vector<std::string>& stops);

  // Text that is certain to stand before any stop string. Whole characters where `text` has whole characters.
  // Empty once stopped. Time is linear in text and the number of stops.
  std::string add(std::string_view text);
  bool stopped() const { return stopped_; }
  // What was held back, at the end of the text.
  std::string finish();

 private:
  struct Stop {
    std::string text;
    std::vector<size_t>
        fallback;        // Knuth-Morris-Pratt: longest proper prefix of text[0, i] that is its suffix
    size_t matched = 0;  // longest prefix that the text so far ends with
  };

  std::vector<Stop> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace batchmax::coordinator
