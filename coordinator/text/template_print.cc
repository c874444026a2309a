// str() and repr() of Python.
#include <fmt/format.h>
#include <utf8proc.h>

#include <charconv>
#include <cmath>

#include "coordinator/text/template_value.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string joined(const std::vector<Value>& items) {
  std::string text;
  for (const Value& item : items) {
    if (&item != items.data()) text += ", ";
    text += item.representation();
  }
  return text;
}

std::string list_text(const List& list) {
  switch (list.kind) {
    case List::Kind::kList:
      return "[" + joined(list.items) + "]";
    case List::Kind::kTuple:
      return "(" + joined(list.items) + (list.items.size() == 1 ? ",)" : ")");
    case List::Kind::kGenerator:
      break;
  }
  return "<generator object>";
}

std::string dict_text(const Dict& dict) {
  std::string text = "{";
  for (const auto& [key, value] : dict.entries()) {
    if (text.size() > 1) text += ", ";
    text += key.representation() + ": " + value.representation();
  }
  return text + "}";
}

}  // namespace

std::string python_real(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same number; an exponent below -4 and from 16 on.
  const double size = std::abs(number);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof digits, number,
                                 exponent ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(digits, end.ptr);
  if (!exponent && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string python_quoted(std::string_view text) {
  const bool doubled = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubled ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else {
      const auto code = static_cast<uint32_t>(c);
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  return out + quote;
}

std::string Value::text() const {
  if (is_string()) return as_string();
  if (is_undefined()) return {};
  return representation();
}

std::string Value::representation() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return as_integer() != 0 ? "True" : "False";
  if (is_integer()) return std::to_string(as_integer());
  if (is_real()) return python_real(as_real());
  if (is_string()) return python_quoted(as_string());
  if (is_list()) return list_text(as_list());
  if (is_dict()) return dict_text(as_dict());
  return fmt::format("<{} object>", as_object().type_name());
}

}  // namespace batchmax::coordinator::jinja
