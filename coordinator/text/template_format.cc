#include "coordinator/text/template_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "coordinator/text/template_operators.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

// What both ways can ask of one value; {} in Python's words:
// [[fill]align][sign][0][width][,][.precision][type]
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool grouped = false;
  int width = 0;
  int precision = -1;
  char type = '\0';
};

constexpr int kMaxWidth = 10'000;

int read_number(std::string_view text, size_t& at) {
  int number = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    number = number * 10 + (text[at++] - '0');
    if (number > kMaxWidth) throw OperationError(fmt::format("a width of more than {}", kMaxWidth));
  }
  return number;
}

std::string grouped(std::string digits) {
  const size_t point = std::min(digits.find('.'), digits.size());
  for (size_t at = point; at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

// Digits without a sign.
std::string real_digits(double size, const Spec& spec) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", size, precision);
    case 'e':
      return fmt::format("{:.{}e}", size, precision);
    case 'E':
      return fmt::format("{:.{}E}", size, precision);
    case '%':
      return fmt::format("{:.{}f}%", size * 100, precision);
    case 'g':
      return fmt::format("{:.{}g}", size, std::max(1, precision));
    default:
      return spec.precision < 0 ? python_real(size) : fmt::format("{:.{}g}", size, std::max(1, precision));
  }
}

std::string whole_digits(uint64_t size, char type) {
  switch (type) {
    case 'x':
      return fmt::format("{:x}", size);
    case 'X':
      return fmt::format("{:X}", size);
    case 'o':
      return fmt::format("{:o}", size);
    case 'b':
      return fmt::format("{:b}", size);
    default:
      return std::to_string(size);
  }
}

std::string padded(const Spec& spec, const std::string& sign, const std::string& body, char default_align) {
  const size_t length = count_code_points(sign) + count_code_points(body);
  const size_t missing =
      static_cast<size_t>(spec.width) > length ? static_cast<size_t>(spec.width) - length : 0;
  const char align = spec.align != '\0' ? spec.align : default_align;
  const auto fill = [&](size_t times) {
    std::string text;
    for (size_t i = 0; i < times; ++i) text += spec.fill;
    return text;
  };
  if (align == '=') return sign + fill(missing) + body;
  if (align == '<') return sign + body + fill(missing);
  if (align == '^') return fill(missing / 2) + sign + body + fill(missing - missing / 2);
  return fill(missing) + sign + body;
}

std::string format_number(const Value& value, const Spec& spec) {
  constexpr std::string_view kRealTypes = "eEfFgG%";
  bool negative = false;
  std::string digits;
  if (value.is_real() || (spec.type != '\0' && kRealTypes.find(spec.type) != std::string_view::npos)) {
    negative = std::signbit(value.as_real());
    digits = real_digits(std::abs(value.as_real()), spec);
  } else {
    const int64_t number = value.as_integer();
    negative = number < 0;
    digits =
        whole_digits(negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number), spec.type);
  }
  if (spec.grouped) digits = grouped(std::move(digits));
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return padded(spec, sign, digits, '>');
}

std::string format_text(std::string_view text, const Spec& spec, char default_align) {
  if (spec.precision >= 0) text = substring(text, 0, static_cast<size_t>(spec.precision));
  return padded(spec, "", std::string(text), default_align);
}

// One value behind %. spec.type is set.
std::string format_old(const Value& value, Spec spec) {
  switch (spec.type) {
    case 's':
      return format_text(value.text(), spec, '>');
    case 'r':
    case 'a':
      return format_text(value.representation(), spec, '>');
    case 'c':
      if (value.is_string()) return format_text(value.as_string(), spec, '>');
      break;
    case 'd':
    case 'i':
    case 'u':
      if (!value.is_number()) break;
      spec.type = 'd';
      if (value.is_real()) {
        if (!(std::abs(value.as_real()) < 9e18)) break;
        return format_number(Value::integer(static_cast<int64_t>(value.as_real())), spec);
      }
      return format_number(value, spec);
    default:
      if (value.is_number()) return format_number(value, spec);
  }
  throw OperationError(fmt::format("%{} format does not take a {}", spec.type, value.type_name()));
}

class PercentFormatter {
 public:
  PercentFormatter(std::string_view pattern, const Value& values) : pattern_(pattern), values_(values) {}

  std::string run(Rendering& rendering) {
    std::string out;
    while (at_ < pattern_.size()) {
      if (pattern_[at_] != '%') {
        out += pattern_[at_++];
        continue;
      }
      ++at_;
      if (at_ < pattern_.size() && pattern_[at_] == '%') {
        out += pattern_[at_++];
        continue;
      }
      const Value* named = read_name();
      const Spec spec = read_spec();
      const Value& value = named != nullptr ? *named : next_value();
      rendering.charge_text(out.size() / 8 + value.weight());
      out += format_old(value, spec);
      rendering.charge_text(out.size() / 8);
    }
    const bool is_tuple = values_.is_list() && values_.as_list().kind == List::Kind::kTuple;
    const size_t given = is_tuple ? values_.as_list().items.size() : values_.is_dict() ? used_ : 1;
    if (used_ < given) throw OperationError("not all arguments converted during string formatting");
    return out;
  }

 private:
  const Value* read_name() {
    if (at_ >= pattern_.size() || pattern_[at_] != '(') return nullptr;
    const size_t end = pattern_.find(')', at_);
    if (end == std::string_view::npos || !values_.is_dict())
      throw OperationError("format requires a mapping");
    const Value* value = values_.as_dict().find(pattern_.substr(at_ + 1, end - at_ - 1));
    if (value == nullptr)
      throw OperationError(fmt::format("format has no value {}", pattern_.substr(at_ + 1, end - at_ - 1)));
    at_ = end + 1;
    return value;
  }

  Spec read_spec() {
    Spec spec;
    for (; at_ < pattern_.size(); ++at_) {
      const char flag = pattern_[at_];
      if (flag == '-') {
        spec.align = '<';
      } else if (flag == '0') {
        spec.fill = "0";
        if (spec.align == '\0') spec.align = '=';
      } else if (flag == '+' || flag == ' ') {
        spec.sign = flag;
      } else if (flag != '#') {
        break;
      }
    }
    if (spec.align == '<') spec.fill = " ";
    spec.width = read_number(pattern_, at_);
    if (at_ < pattern_.size() && pattern_[at_] == '.') spec.precision = read_number(pattern_, ++at_);
    constexpr std::string_view kTypes = "sradiuxXoeEfFgGc";
    if (at_ >= pattern_.size() || kTypes.find(pattern_[at_]) == std::string_view::npos)
      throw OperationError("unsupported or incomplete format");
    spec.type = pattern_[at_++];
    return spec;
  }

  const Value& next_value() {
    const bool is_tuple = values_.is_list() && values_.as_list().kind == List::Kind::kTuple;
    const size_t given = is_tuple ? values_.as_list().items.size() : 1;
    if (used_ >= given) throw OperationError("not enough arguments for format string");
    return is_tuple ? values_.as_list().items[used_++] : (++used_, values_);
  }

  std::string_view pattern_;
  const Value& values_;
  size_t at_ = 0;
  size_t used_ = 0;
};

Spec read_brace_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  constexpr std::string_view kAligns = "<>^=";
  const size_t first = text.empty() ? 0 : utf8_length(text.front());
  if (first > 0 && first < text.size() && kAligns.find(text[first]) != std::string_view::npos) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    at = first + 1;
  } else if (first > 0 && kAligns.find(text.front()) != std::string_view::npos) {
    spec.align = text.front();
    at = 1;
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
  if (at < text.size() && text[at] == '0' && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
    ++at;
  }
  spec.width = read_number(text, at);
  if (at < text.size() && text[at] == ',') {
    spec.grouped = true;
    ++at;
  }
  if (at < text.size() && text[at] == '.') spec.precision = read_number(text, ++at);
  if (at < text.size()) spec.type = text[at++];
  constexpr std::string_view kTypes = "sdxXobeEfFgG%";
  if (at < text.size() || (spec.type != '\0' && kTypes.find(spec.type) == std::string_view::npos))
    throw OperationError(fmt::format("invalid format specifier '{}'", text));
  return spec;
}

std::string format_new(const Value& value, std::string_view text) {
  if (text.empty()) return value.text();
  const Spec spec = read_brace_spec(text);
  if (value.is_number() && !value.is_bool() && spec.type != 's') return format_number(value, spec);
  if (value.is_string() && (spec.type == '\0' || spec.type == 's'))
    return format_text(value.as_string(), spec, '<');
  throw OperationError(fmt::format("unsupported format '{}' for a {}", text, value.type_name()));
}

class BraceFormatter {
 public:
  BraceFormatter(std::string_view pattern, const Arguments& arguments)
      : pattern_(pattern), arguments_(arguments) {}

  std::string run(Rendering& rendering) {
    std::string out;
    for (size_t at = 0; at < pattern_.size(); ++at) {
      const char c = pattern_[at];
      const bool twice = at + 1 < pattern_.size() && pattern_[at + 1] == c;
      if ((c != '{' && c != '}') || twice) {
        out += c;
        if (c == '{' || c == '}') ++at;
        continue;
      }
      const size_t end = c == '{' ? pattern_.find('}', at) : std::string_view::npos;
      if (end == std::string_view::npos) throw OperationError("single { or } in a format string");
      field(rendering, pattern_.substr(at + 1, end - at - 1), out);
      at = end;
    }
    return out;
  }

 private:
  void field(Rendering& rendering, std::string_view text, std::string& out) {
    std::string_view spec;
    if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
      spec = text.substr(colon + 1);
      text = text.substr(0, colon);
    }
    std::string_view conversion;
    if (const size_t mark = text.find('!'); mark != std::string_view::npos) {
      conversion = text.substr(mark + 1);
      text = text.substr(0, mark);
    }
    const Value value = find(rendering, text);
    rendering.charge_text(out.size() / 8 + value.weight());
    if (conversion == "r") {
      out += format_new(Value::string(value.representation()), spec);
    } else if (conversion == "s") {
      out += format_new(Value::string(value.text()), spec);
    } else {
      out += format_new(value, spec);
    }
  }

  // name, number or nothing, then .attribute or [item].
  Value find(Rendering& rendering, std::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, at));
    while (at < path.size()) {
      const bool item = path[at] == '[';
      const size_t end = item ? path.find(']', at) : std::min(path.find_first_of(".[", at + 1), path.size());
      if (end == std::string_view::npos) throw OperationError("missing ] in a format string");
      const std::string_view name = path.substr(at + 1, end - at - 1);
      int64_t number = 0;
      const auto read = std::from_chars(name.data(), name.data() + name.size(), number);
      const bool is_number = read.ec == std::errc() && read.ptr == name.data() + name.size();
      value = !item       ? get_attribute(value, name)
              : is_number ? get_item(rendering, value, Value::integer(number))
                          : get_item(rendering, value, Value::string(std::string(name)));
      at = item ? end + 1 : end;
    }
    return value;
  }

  const Value& argument(std::string_view name) {
    for (const auto& [key, value] : arguments_.named)
      if (key == name) return value;
    size_t number = 0;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), number);
    if (name.empty()) {
      number = next_++;
    } else if (read.ec != std::errc() || read.ptr != name.data() + name.size()) {
      throw OperationError(fmt::format("format has no value {}", name));
    }
    if (number >= arguments_.positional.size())
      throw OperationError(fmt::format("format has no value number {}", number));
    return arguments_.positional[number];
  }

  std::string_view pattern_;
  const Arguments& arguments_;
  size_t next_ = 0;
};

}  // namespace

std::string format_percent(Rendering& rendering, std::string_view pattern, const Value& values) {
  return PercentFormatter(pattern, values).run(rendering);
}
std::string format_braces(Rendering& rendering, std::string_view pattern, const Arguments& arguments) {
  return BraceFormatter(pattern, arguments).run(rendering);
}

}  // namespace batchmax::coordinator::jinja
