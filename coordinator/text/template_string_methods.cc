// Methods of str.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "coordinator/text/template_format.h"
#include "coordinator/text/template_letters.h"
#include "coordinator/text/template_lexer.h"
#include "coordinator/text/template_methods.h"
#include "coordinator/text/template_parameters.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

constexpr auto kNowhere = std::string_view::npos;

Value text_value(std::string_view text) { return Value::string(std::string(text)); }

template <std::string (*kChange)(std::string_view)>
Value change(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("a method of str", arguments, {});
  return Value::string(kChange(text));
}

template <bool kLeft, bool kRight>
Value strip(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("strip", arguments, {"chars"});
  if (given.has(0) && given.string(0).empty()) return text_value(text);
  return text_value(stripped(text, given.string_or(0, ""), kLeft, kRight));
}

// The part of the text that start and end of find(), count(), startswith() and so on select.
std::string_view selected(const std::string& text, const Parameters& given, size_t first) {
  if (!given.has(first) && !given.has(first + 1)) return text;
  const auto size = static_cast<int64_t>(count_code_points(text));
  const auto bound = [&](size_t i, int64_t otherwise) {
    const int64_t at = given.integer_or(i, otherwise);
    return static_cast<size_t>(
        std::clamp<int64_t>(at < 0 ? std::max<int64_t>(at, -size) + size : at, 0, size));
  };
  const size_t begin = bound(first, 0);
  return substring(text, begin, std::max(begin, bound(first + 1, size)));
}

template <bool kEnd>
Value has_affix(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given(kEnd ? "endswith" : "startswith", arguments, {"affix", "start", "end"});
  const std::string_view part = selected(text, given, 1);
  const auto fits = [&](const std::string& affix) {
    return kEnd ? part.ends_with(affix) : part.starts_with(affix);
  };
  if (!given.at(0).is_list()) return Value::boolean(fits(given.string(0)));
  for (const Value& affix : given.at(0).as_list().items)
    if (affix.is_string() && fits(affix.as_string())) return Value::boolean(true);
  return Value::boolean(false);
}

template <bool kFromRight, bool kMustBe>
Value find(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("find", arguments, {"sub", "start", "end"});
  const std::string_view part = selected(text, given, 1);
  const size_t place = kFromRight ? part.rfind(given.string(0)) : part.find(given.string(0));
  if (place == kNowhere) {
    if (kMustBe) throw OperationError("substring not found");
    return Value::integer(-1);
  }
  const auto before = static_cast<size_t>(part.data() - text.data()) + place;
  return Value::integer(static_cast<int64_t>(count_code_points(std::string_view(text).substr(0, before))));
}

Value count(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("count", arguments, {"sub", "start", "end"});
  const std::string_view part = selected(text, given, 1);
  const std::string& sub = given.string(0);
  if (sub.empty()) return Value::integer(static_cast<int64_t>(count_code_points(part)) + 1);
  int64_t times = 0;
  for (size_t at = part.find(sub); at != kNowhere; at = part.find(sub, at + sub.size())) ++times;
  return Value::integer(times);
}

Value replace(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"});
  return Value::string(replaced(rendering, text, given.string(0), given.string(1), given.integer_or(2, -1)));
}

// The first white-space character, or the last: where it begins and ends.
std::pair<size_t, size_t> find_space(std::string_view text, bool from_right) {
  for (size_t at = from_right ? text.size() : 0; from_right ? at > 0 : at < text.size();) {
    const size_t begin = from_right ? previous_character(text, at) : at;
    size_t end = begin;
    if (is_python_space(next_code_point(text, end))) return {begin, end};
    at = from_right ? begin : end;
  }
  return {kNowhere, kNowhere};
}

template <bool kFromRight>
Value split(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  const Parameters given("split", arguments, {"sep", "maxsplit"});
  if (given.has(0) && given.string(0).empty()) throw OperationError("empty separator");
  std::string_view rest = text;
  std::vector<Value> parts;
  int64_t left = given.integer_or(1, -1);
  const bool by_space = !given.has(0);
  const std::string separator = given.string_or(0, "");
  const auto trim = [&] { rest = kFromRight ? strip_space_right(rest) : strip_space_left(rest); };
  if (by_space) trim();
  for (; left != 0 && !(by_space && rest.empty()); --left) {
    rendering.charge(1);
    size_t begin = 0, end = 0;  // of the separator
    if (by_space) {
      std::tie(begin, end) = find_space(rest, kFromRight);
    } else {
      begin = kFromRight ? rest.rfind(separator) : rest.find(separator);
      end = begin + separator.size();
    }
    if (begin == kNowhere) break;
    parts.push_back(text_value(kFromRight ? rest.substr(end) : rest.substr(0, begin)));
    rest = kFromRight ? rest.substr(0, begin) : rest.substr(end);
    if (by_space) trim();
  }
  if (!by_space || !rest.empty()) parts.push_back(text_value(rest));
  if (kFromRight) std::reverse(parts.begin(), parts.end());
  return Value::list(std::move(parts));
}

Value splitlines(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  const Parameters given("splitlines", arguments, {"keepends"});
  const bool keeps = given.truth_or(0, false);
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text, at);
    const bool breaks =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text_value(std::string_view(text).substr(begin, (keeps ? at : end) - begin)));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text_value(std::string_view(text).substr(begin)));
  rendering.charge(lines.size());
  return Value::list(std::move(lines));
}

template <bool kFromRight>
Value partition(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("partition", arguments, {"sep"});
  const std::string& separator = given.string(0);
  if (separator.empty()) throw OperationError("empty separator");
  const size_t place = kFromRight ? text.rfind(separator) : text.find(separator);
  if (place == kNowhere) {
    if (kFromRight) return Value::tuple({text_value(""), text_value(""), text_value(text)});
    return Value::tuple({text_value(text), text_value(""), text_value("")});
  }
  return Value::tuple({text_value(text.substr(0, place)), text_value(separator),
                       text_value(text.substr(place + separator.size()))});
}

template <bool kEnd>
Value remove_affix(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("removeprefix", arguments, {"affix"});
  const std::string& affix = given.string(0);
  if (kEnd) return text_value(text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text);
  return text_value(text.starts_with(affix) ? text.substr(affix.size()) : text);
}

Value join(Rendering& rendering, const std::string& separator, const Arguments& arguments) {
  const Parameters given("join", arguments, {"iterable"});
  std::string text;
  bool first = true;
  for (const Value& item : given.at(0).items()) {
    if (!item.is_string()) throw OperationError(fmt::format("join takes strings, not {}", item.type_name()));
    const size_t before = text.size();
    if (!std::exchange(first, false)) text += separator;
    text += item.as_string();
    rendering.charge(1);
    rendering.charge_text(text.size() - before);
    if (text.size() > kMaxTextBytes) rendering.charge_text(text.size());
  }
  return Value::string(std::move(text));
}

// center, ljust, rjust: the share of the padding that goes to the left.
enum class Side { kLeft, kRight, kBoth };
template <Side kSide>
Value justify(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  const Parameters given("justify", arguments, {"width", "fillchar"});
  const int64_t width = given.integer(0), size = static_cast<int64_t>(count_code_points(text));
  const std::string fill = given.string_or(1, " ");
  if (width <= size) return text_value(text);
  const auto missing = static_cast<size_t>(width - size);
  rendering.charge_text(std::min<size_t>(missing, size_t{1} << 40) * fill.size() + text.size());
  // Python's center() puts the odd character on the left where the width is odd.
  const size_t left = kSide == Side::kLeft    ? missing
                      : kSide == Side::kRight ? 0
                                              : missing / 2 + (missing & static_cast<size_t>(width) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return Value::string(std::move(out));
}

Value zfill(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  const Parameters given("zfill", arguments, {"width"});
  const auto size = static_cast<int64_t>(count_code_points(text));
  if (given.integer(0) <= size) return text_value(text);
  const auto missing = static_cast<size_t>(given.integer(0) - size);
  rendering.charge_text(missing + text.size());
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return Value::string(text.substr(0, sign) + std::string(missing, '0') + text.substr(sign));
}

Value format(Rendering& rendering, const std::string& text, const Arguments& arguments) {
  return Value::string(format_braces(rendering, text, arguments));
}

struct Entry {
  std::string_view name;
  StringMethod method;
};
constexpr Entry kMethods[] = {{"capitalize", change<capitalized>},
                              {"casefold", change<lower_text>},
                              {"center", justify<Side::kBoth>},
                              {"count", count},
                              {"endswith", has_affix<true>},
                              {"find", find<false, false>},
                              {"format", format},
                              {"index", find<false, true>},
                              {"join", join},
                              {"ljust", justify<Side::kRight>},
                              {"lower", change<lower_text>},
                              {"lstrip", strip<true, false>},
                              {"partition", partition<false>},
                              {"removeprefix", remove_affix<false>},
                              {"removesuffix", remove_affix<true>},
                              {"replace", replace},
                              {"rfind", find<true, false>},
                              {"rindex", find<true, true>},
                              {"rjust", justify<Side::kLeft>},
                              {"rpartition", partition<true>},
                              {"rsplit", split<true>},
                              {"rstrip", strip<false, true>},
                              {"split", split<false>},
                              {"splitlines", splitlines},
                              {"startswith", has_affix<false>},
                              {"strip", strip<true, true>},
                              {"swapcase", change<swapped>},
                              {"title", change<titled>},
                              {"upper", change<upper_text>},
                              {"zfill", zfill}};

constexpr char kAlpha[] = "alpha", kDigit[] = "digit", kDecimal[] = "decimal", kNumeric[] = "numeric",
               kAlnum[] = "alnum", kSpace[] = "space", kAscii[] = "ascii", kLower[] = "lower",
               kUpper[] = "upper", kTitle[] = "title";

template <const char* kName>
Value property(Rendering&, const std::string& text, const Arguments& arguments) {
  const Parameters given("a method of str", arguments, {});
  return Value::boolean(has_property(text, kName));
}
constexpr Entry kProperties[] = {{kAlpha, property<kAlpha>},     {kDigit, property<kDigit>},
                                 {kDecimal, property<kDecimal>}, {kNumeric, property<kNumeric>},
                                 {kAlnum, property<kAlnum>},     {kSpace, property<kSpace>},
                                 {kAscii, property<kAscii>},     {kLower, property<kLower>},
                                 {kUpper, property<kUpper>},     {kTitle, property<kTitle>}};

}  // namespace

std::string replaced(Rendering& rendering, std::string_view text, std::string_view old, std::string_view by,
                     int64_t most) {
  std::string out;
  size_t at = 0;
  for (; most != 0; --most) {
    const size_t place = text.find(old, at);
    if (place == kNowhere) break;
    // An empty text stands before every character and at the end.
    const bool at_end = place == text.size();
    const size_t passed = old.empty() && !at_end ? utf8_length(text[place]) : 0;
    out += text.substr(at, place - at);
    out += by;
    out += text.substr(place, passed);
    at = place + old.size() + passed;
    rendering.charge(1);
    if (out.size() > kMaxTextBytes) break;
    if (at_end) break;
  }
  rendering.charge_text(out.size() + text.size() - at);
  out += text.substr(at);
  return out;
}

StringMethod find_string_method(std::string_view name) {
  const auto same = [&](const Entry& entry) { return entry.name == name; };
  const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods), same);
  if (found != std::end(kMethods)) return found->method;
  if (!name.starts_with("is")) return nullptr;
  name.remove_prefix(2);
  found = std::find_if(std::begin(kProperties), std::end(kProperties), same);
  return found != std::end(kProperties) ? found->method : nullptr;
}

}  // namespace batchmax::coordinator::jinja
