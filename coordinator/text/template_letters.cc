#include "coordinator/text/template_letters.h"

#include <utf8proc.h>

#include <utility>

#include "coordinator/text/template_lexer.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

char32_t to_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t to_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}
char32_t to_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

enum class Case { kUpper, kTitle, kLower };

// choose(character): the case it is to have.
template <typename Choose>
std::string mapped(std::string_view text, Choose choose) {
  constexpr char32_t kSharpS = 0xDF, kDottedI = 0x130;
  std::string out;
  while (!text.empty()) {
    size_t at = 0;
    const char32_t c = next_code_point(text, at);
    const Case wanted = choose(c);
    if (c == kSharpS && wanted != Case::kLower) {
      out += wanted == Case::kUpper ? "SS" : "Ss";
    } else if (c == kDottedI && wanted == Case::kLower) {
      out += "i\u0307";
    } else {
      append_utf8(out, wanted == Case::kUpper   ? to_upper(c)
                       : wanted == Case::kTitle ? to_title(c)
                                                : to_lower(c));
    }
    text.remove_prefix(at);
  }
  return out;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_alpha(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}

// islower() and isupper(): no letter of the other case, and one of this.
bool has_case(std::string_view text, bool upper) {
  bool found = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (!is_cased(c)) continue;
    if (is_upper(c) != upper) return false;
    found = true;
  }
  return found;
}

bool is_titled(std::string_view text) {
  bool found = false, inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (is_cased(c) && is_upper(c) == inside) return false;
    inside = is_cased(c);
    found = found || inside;
  }
  return found;
}

template <typename Property>
bool all(std::string_view text, Property property) {
  for (size_t at = 0; at < text.size();)
    if (!property(next_code_point(text, at))) return false;
  return !text.empty();
}

}  // namespace

bool is_cased(char32_t c) { return is_upper(c) || category(c) == UTF8PROC_CATEGORY_LL; }

std::string upper_text(std::string_view text) {
  return mapped(text, [](char32_t) { return Case::kUpper; });
}
std::string lower_text(std::string_view text) {
  return mapped(text, [](char32_t) { return Case::kLower; });
}

std::string capitalized(std::string_view text) {
  bool first = true;
  return mapped(text, [&](char32_t) { return std::exchange(first, false) ? Case::kTitle : Case::kLower; });
}

std::string titled(std::string_view text) {
  bool inside = false;
  return mapped(text,
                [&](char32_t c) { return std::exchange(inside, is_cased(c)) ? Case::kLower : Case::kTitle; });
}

std::string swapped(std::string_view text) {
  return mapped(text, [](char32_t c) { return is_upper(c) ? Case::kLower : Case::kUpper; });
}

std::string_view stripped(std::string_view text, std::string_view chars, bool left, bool right) {
  if (chars.empty()) {
    if (left) text = strip_space_left(text);
    return right ? strip_space_right(text) : text;
  }
  const auto among = [&](std::string_view character) {
    return chars.find(character) != std::string_view::npos;
  };
  while (left && !text.empty() && among(text.substr(0, utf8_length(text.front()))))
    text.remove_prefix(utf8_length(text.front()));
  while (right && !text.empty()) {
    const size_t last = previous_character(text, text.size());
    if (!among(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text;
}

bool has_property(std::string_view text, std::string_view name) {
  if (name == "alpha") return all(text, is_alpha);
  if (name == "digit" || name == "decimal") return all(text, is_decimal);
  if (name == "numeric") return all(text, is_numeric);
  if (name == "alnum") return all(text, [](char32_t c) { return is_alpha(c) || is_numeric(c); });
  if (name == "space") return all(text, is_python_space);
  if (name == "ascii") return text.empty() || all(text, [](char32_t c) { return c < 0x80; });
  if (name == "lower") return has_case(text, false);
  if (name == "upper") return has_case(text, true);
  return is_titled(text);
}

}  // namespace batchmax::coordinator::jinja
