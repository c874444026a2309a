#include "coordinator/text/template_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "coordinator/text/template_error.h"
#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string normalize_newlines(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The value of a string literal without its quotes; escapes are Python's.
std::string unescape(std::string_view raw) {
  std::string out;
  const auto number = [&](size_t at, size_t digits, int base) -> int64_t {
    uint32_t code = 0;
    const std::string_view part = raw.substr(std::min(at, raw.size()), digits);
    const auto end = std::from_chars(part.data(), part.data() + part.size(), code, base);
    return part.size() == digits && end.ptr == part.data() + part.size() ? int64_t{code} : -1;
  };
  constexpr std::string_view kLetters = "ntrabfv", kControls = "\n\t\r\a\b\f\v";
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      out += raw[i];
      continue;
    }
    const char c = raw[++i];
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == '\\' || c == '\'' || c == '"') {
      out += c;
    } else if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
      out += kControls[letter];
    } else if (c >= '0' && c <= '7') {
      size_t length = 1;
      while (length < 3 && i + length < raw.size() && raw[i + length] >= '0' && raw[i + length] <= '7')
        ++length;
      append_utf8(out, static_cast<char32_t>(number(i, length, 8)));
      i += length - 1;
    } else if (const int64_t code = digits > 0 ? number(i + 1, digits, 16) : -1;
               code >= 0 && code <= 0x10FFFF) {
      // Half of a surrogate pair is no character.
      append_utf8(out, code >= 0xD800 && code < 0xE000 ? U'\uFFFD' : static_cast<char32_t>(code));
      i += digits;
    } else if (c != '\n') {
      out += '\\';
      out += c;
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(replace_invalid_utf8(source))) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) next_part();
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  [[noreturn]] void fail(const std::string& reason) const { throw TemplateError(line_, reason); }
  void add(Token::Kind kind, std::string_view text) { tokens_.push_back({kind, std::string(text), line_}); }
  void advance(size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
  }
  void skip_space() { advance(rest().size() - strip_space_left(rest()).size()); }
  size_t find_opening(size_t from) const {
    while ((from = source_.find('{', from)) != std::string::npos) {
      const char next = from + 1 < source_.size() ? source_[from + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return from;
      ++from;
    }
    return source_.size();
  }

  // Text up to the next tag, and that tag.
  void next_part() {
    const size_t opening = find_opening(at_);
    const std::string_view text = rest().substr(0, opening - at_);
    if (opening == source_.size()) {
      add(Token::Kind::kText, text);
      return advance(text.size());
    }
    const char kind = source_[opening + 1];
    const char sign = opening + 2 < source_.size() ? source_[opening + 2] : '\0';
    const std::string_view kept = before_tag(text, sign, kind != '{');
    if (!kept.empty()) add(Token::Kind::kText, kept);
    advance(text.size() + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    tag(kind == '{');
  }

  // What is left of the text before a tag whose opening is followed by `sign`.
  std::string_view before_tag(std::string_view text, char sign, bool is_block) const {
    if (sign == '-') return strip_space_right(text);
    if (sign == '+' || !is_block) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starts_) return text;
    return strip_space_left(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  // Behind a tag that ends here: with - all space goes, else one newline does, unless + keeps it.
  void after_tag(char sign, bool trims_newline) {
    const size_t end = at_;
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trims_newline && rest().starts_with('\n')) {
      advance(1);
    }
    line_starts_ = at_ > end && source_[at_ - 1] == '\n';
  }

  void comment() {
    const size_t end = rest().find("#}");
    if (end == std::string_view::npos) fail("a comment without #}");
    const char sign = end > 0 ? rest()[end - 1] : '\0';
    advance(end + 2);
    after_tag(sign, true);
  }

  // {% raw %}...{% endraw %}; false where another block begins here.
  bool raw() {
    std::string_view view = strip_space_left(rest());
    if (!view.starts_with("raw")) return false;
    view = strip_space_left(view.substr(3));
    const bool strips = view.starts_with("-%}");
    if (!strips && !view.starts_with("%}")) return false;
    advance(rest().size() - view.size() + (strips ? 3 : 2));
    after_tag(strips ? '-' : '\0', false);
    for (size_t open = rest().find("{%"); open != std::string_view::npos;
         open = rest().find("{%", open + 2)) {
      std::string_view tail = rest().substr(open + 2);
      const char sign = tail.empty() ? '\0' : tail.front();
      if (sign == '-' || sign == '+') tail.remove_prefix(1);
      tail = strip_space_left(tail);
      if (!tail.starts_with("endraw")) continue;
      tail = strip_space_left(tail.substr(6));
      const char end_sign = tail.empty() ? '\0' : tail.front();
      if (end_sign == '-' || end_sign == '+') tail.remove_prefix(1);
      if (!tail.starts_with("%}")) continue;
      add(Token::Kind::kText, before_tag(rest().substr(0, open), sign, true));
      advance(rest().size() - tail.size() + 2);
      after_tag(end_sign, true);
      return true;
    }
    fail("raw without endraw");
  }

  void tag(bool is_output) {
    add(is_output ? Token::Kind::kOutputBegin : Token::Kind::kBlockBegin, "");
    const std::string_view closing = is_output ? "}}" : "%}";
    std::string open;  // brackets
    for (;;) {
      skip_space();
      if (rest().empty()) fail(is_output ? "{{ without }}" : "{% without %}");
      if (open.empty()) {
        const char sign = rest().front();
        const bool has_sign =
            (sign == '-' || (sign == '+' && !is_output)) && rest().substr(1).starts_with(closing);
        if (has_sign || rest().starts_with(closing)) {
          add(is_output ? Token::Kind::kOutputEnd : Token::Kind::kBlockEnd, "");
          advance(has_sign ? 3 : 2);
          return after_tag(has_sign ? sign : '\0', !is_output);
        }
      }
      expression_token(open);
    }
  }

  void expression_token(std::string& open) {
    const char c = rest().front();
    if (c == '\'' || c == '"') return string(c);
    if (is_digit(c)) return number();
    size_t length = 0;
    while (length < rest().size()) {
      size_t end = length;
      if (!is_word_character(next_code_point(rest(), end))) break;
      length = end;
    }
    if (length > 0) {
      add(Token::Kind::kName, rest().substr(0, length));
      return advance(length);
    }
    for (const std::string_view op : kOperators) {
      if (!rest().starts_with(op)) continue;
      balance(op.front(), open);
      add(Token::Kind::kOperator, op);
      return advance(op.size());
    }
    fail(fmt::format("the character {} is not expected here", rest().substr(0, utf8_length(c))));
  }

  void balance(char c, std::string& open) const {
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open.empty()) fail(fmt::format("{} closes nothing", c));
    if (open.back() != c) fail(fmt::format("expected {}, found {}", open.back(), c));
    open.pop_back();
  }

  void string(char quote) {
    size_t end = 1;
    while (end < rest().size() && rest()[end] != quote) end += rest()[end] == '\\' ? 2 : 1;
    if (end >= rest().size()) fail("a string without its closing quote");
    add(Token::Kind::kString, unescape(rest().substr(1, end - 1)));
    advance(end + 1);
  }

  void number() {
    const std::string_view text = rest();
    const auto digits = [&](size_t from) {
      size_t end = from;
      while (end < text.size() && (is_digit(text[end]) || (text[end] == '_' && end > from))) ++end;
      return end;
    };
    size_t end = digits(0);
    bool real = false;
    // In x.0.1 the numbers are items, not 0.1.
    const bool item = at_ > 0 && source_[at_ - 1] == '.';
    if (!item && end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
      end = digits(end + 1);
      real = true;
    }
    if (!item && end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
      const size_t sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-') ? 1 : 0;
      const size_t exponent = digits(end + 1 + sign);
      if (exponent > end + 1 + sign) {
        end = exponent;
        real = true;
      }
    }
    std::string spelled(text.substr(0, end));
    std::erase(spelled, '_');
    add(real ? Token::Kind::kReal : Token::Kind::kInteger, spelled);
    advance(end);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // at_ is behind a newline that a tag took with it, or at the start
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); }

std::string_view strip_space_left(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!is_python_space(next_code_point(text, at))) return text.substr(begin);
  }
  return {};
}

std::string_view strip_space_right(std::string_view text) {
  while (!text.empty()) {
    size_t at = previous_character(text, text.size());
    const size_t begin = at;
    if (!is_python_space(next_code_point(text, at))) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::vector<Token> tokenize_template(std::string_view source) { return Lexer(source).run(); }

}  // namespace batchmax::coordinator::jinja
