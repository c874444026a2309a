// A chat template that could not be parsed or rendered: which line, and why.
#pragma once

#include <stdexcept>
#include <string>

namespace batchmax::coordinator {

class TemplateError : public std::runtime_error {
 public:
  TemplateError(int line, const std::string& reason)
      : std::runtime_error("chat template line " + std::to_string(line) + ": " + reason), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

}  // namespace batchmax::coordinator
