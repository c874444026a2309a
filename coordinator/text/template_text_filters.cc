// Filters of text, and tojson.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/text/template_filters.h"
#include "coordinator/text/template_format.h"
#include "coordinator/text/template_json.h"
#include "coordinator/text/template_letters.h"
#include "coordinator/text/template_lexer.h"
#include "coordinator/text/template_methods.h"
#include "coordinator/text/template_parameters.h"
#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

// The value as text, as most of these filters take it.
std::string text_of(Rendering& rendering, const Value& value) {
  rendering.charge_text(value.weight());
  return value.text();
}

template <std::string (*kChange)(std::string_view)>
Value change(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("a filter", arguments, {});
  return Value::string(kChange(text_of(rendering, value)));
}

// Jinja's own: words divided by space, - and opening brackets.
std::string title_words(std::string_view text) {
  std::string out;
  bool first = true;
  for (size_t at = 0; at < text.size();) {
    const size_t before = at;
    const char32_t c = next_code_point(text, at);
    out +=
        first ? upper_text(text.substr(before, at - before)) : lower_text(text.substr(before, at - before));
    first = is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  }
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kKept = "_.-~/";
  std::string out;
  for (const char c : text) {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (alnum || kKept.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

std::string same(std::string_view text) { return std::string(text); }

Value trim(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("trim", arguments, {"chars"});
  const std::string text = text_of(rendering, value);
  return Value::string(std::string(stripped(text, given.string_or(0, ""), true, true)));
}

Value replace(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"});
  return Value::string(replaced(rendering, text_of(rendering, value), given.at(0).text(), given.at(1).text(),
                                given.integer_or(2, -1)));
}

Value center(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("center", arguments, {"width"});
  const Arguments width{{given.value_or(0, Value::integer(80))}, {}};
  return find_string_method("center")(rendering, text_of(rendering, value), width);
}

Value format(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const std::string pattern = text_of(rendering, value);
  if (arguments.named.empty())
    return Value::string(format_percent(rendering, pattern, Value::tuple(arguments.positional)));
  if (!arguments.positional.empty())
    throw OperationError("format takes values with names or without, not both");
  Dict values;
  for (const auto& [name, named] : arguments.named) values.set(Value::string(name), named);
  return Value::string(format_percent(rendering, pattern, Value::dict(std::move(values))));
}

Value indent(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("indent", arguments, {"width", "first", "blank"});
  if (value.is_undefined()) throw OperationError(value.why_undefined());
  if (!value.is_string()) throw OperationError(fmt::format("indent takes a text, not {}", value.type_name()));
  const Value width = given.value_or(0, Value::integer(4));
  if (!width.is_string())
    rendering.charge_text(
        static_cast<size_t>(std::max<int64_t>(0, width.is_integer() ? width.as_integer() : 0)));
  const std::string margin =
      width.is_string() ? width.as_string()
                        : std::string(static_cast<size_t>(std::max<int64_t>(0, given.integer_or(0, 4))), ' ');
  const bool first = given.truth_or(1, false), blank = given.truth_or(2, false);
  const Value lines = find_string_method("splitlines")(rendering, text_of(rendering, value) + "\n", {});
  std::string out;
  bool is_first = true;
  for (const Value& line : lines.as_list().items) {
    if (!is_first) out += '\n';
    const bool indents = is_first ? first : blank || !line.as_string().empty();
    if (indents) out += margin;
    out += line.as_string();
    is_first = false;
    rendering.charge(1 + margin.size() / 32);
    if (out.size() > kMaxTextBytes) rendering.charge_text(out.size());
  }
  return Value::string(std::move(out));
}

Value truncate(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string end = given.string_or(2, "...");
  const int64_t length = given.integer_or(0, 255), leeway = given.integer_or(3, 5);
  const auto tail = static_cast<int64_t>(count_code_points(end));
  if (length < tail) throw OperationError(fmt::format("expected length >= {}, got {}", tail, length));
  if (leeway < 0) throw OperationError(fmt::format("expected leeway >= 0, got {}", leeway));
  if (static_cast<int64_t>(value.length()) <= length + leeway) return value;
  if (!value.is_string())
    throw OperationError(fmt::format("truncate takes a text, not {}", value.type_name()));
  const std::string text = text_of(rendering, value);
  std::string_view kept = substring(text, 0, static_cast<size_t>(length - tail));
  if (!given.truth_or(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return Value::string(std::string(kept) + end);
}

Value word_count(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("wordcount", arguments, {});
  const std::string text = text_of(rendering, value);
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const bool word = is_word_character(next_code_point(text, at));
    words += word && !inside;
    inside = word;
  }
  return Value::integer(words);
}

Value tojson(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Parameters given("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given.truth_or(0, false);
  style.sort_keys = given.truth_or(3, false);
  if (given.has(1)) {
    style.indent =
        given.at(1).is_string()
            ? given.string(1)
            : std::string(static_cast<size_t>(std::clamp<int64_t>(given.integer(1), 0, 1000)), ' ');
    style.item_separator = ",";
  }
  if (given.has(2)) {
    const std::vector<Value> separators = given.at(2).items();
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string())
      throw OperationError("tojson: separators must be two strings");
    style.item_separator = separators[0].as_string();
    style.key_separator = separators[1].as_string();
  }
  return Value::string(to_json(rendering, value, style));
}

constexpr FilterEntry kFilters[] = {{"capitalize", change<capitalized>},
                                    {"center", center},
                                    {"e", change<escape_html>},
                                    {"escape", change<escape_html>},
                                    {"forceescape", change<escape_html>},
                                    {"format", format},
                                    {"indent", indent},
                                    {"lower", change<lower_text>},
                                    {"replace", replace},
                                    {"safe", change<same>},
                                    {"string", change<same>},
                                    {"title", change<title_words>},
                                    {"tojson", tojson},
                                    {"trim", trim},
                                    {"truncate", truncate},
                                    {"upper", change<upper_text>},
                                    {"urlencode", change<percent_encoded>},
                                    {"wordcount", word_count}};

}  // namespace

Filter find_text_filter(std::string_view name) { return find_in_table(kFilters, name); }

}  // namespace batchmax::coordinator::jinja
