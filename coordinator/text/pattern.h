// What a tokenizer.json calls a pattern: {"Regex": "..."} or {"String": "..."}. Finds its matches in a text.
// Immutable after construction; any thread may search.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class Pattern {
 public:
  // Throws std::runtime_error naming file and key for a regular expression that does not compile.
  explicit Pattern(const JsonNode& node);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Calls part(begin, end, is_match) for every match and every gap between matches, in order. Gaps are never
  // empty; matches of a regular expression may be, but for one right behind another match.
  // REQUIRES valid UTF-8. Throws std::runtime_error where the regular expression engine gives up (memory).
  using Part = std::function<void(size_t begin, size_t end, bool is_match)>;
  void for_each(std::string_view text, const Part& part) const;

 private:
  class Engine;
  class LiteralEngine;
  class ScannerEngine;
  class RegexEngine;
  std::unique_ptr<Engine> engine_;
};

}  // namespace batchmax::coordinator
