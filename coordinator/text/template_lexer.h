// Divides the source of a chat template into tokens, with Jinja's rules for white space as transformers sets
// them: trim_blocks (the newline behind a block is dropped) and lstrip_blocks (so is the space before one
// that begins a line). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator::jinja {

struct Token {
  enum class Kind {
    kText,         // outside of tags
    kOutputBegin,  // {{
    kOutputEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,  // text: its value
    kInteger,
    kReal,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;
  int line;  // from 1
};

// The last token is kEnd. Throws TemplateError.
std::vector<Token> tokenize_template(std::string_view source);

// What str.isspace() of Python says.
bool is_python_space(char32_t c);
std::string_view strip_space_left(std::string_view text);
std::string_view strip_space_right(std::string_view text);

}  // namespace batchmax::coordinator::jinja
