#include "coordinator/client/terminal_text.h"

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {

std::string printable(std::string_view text) {
  const std::string valid = replace_invalid_utf8(text);
  std::string shown;
  for (size_t at = 0; at < valid.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(valid, at);
    const bool control = (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0);
    shown += control ? kReplacementCharacter : std::string_view(valid).substr(begin, at - begin);
  }
  return shown;
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c != '\r') line += c == '\n' ? ' ' : c;
  }
  return printable(line);
}

}  // namespace batchmax::coordinator
