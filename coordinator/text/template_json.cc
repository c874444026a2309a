#include "coordinator/text/template_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator::jinja {
namespace {

class Writer {
 public:
  Writer(Rendering& rendering, const JsonStyle& style) : rendering_(rendering), style_(style) {}

  void value(const Value& value) {
    rendering_.charge(1);
    if (out.size() > kMaxTextBytes) rendering_.charge_text(out.size());
    if (value.is_none()) {
      out += "null";
    } else if (value.is_string()) {
      string(value.as_string());
    } else if (value.is_number()) {
      out += number(value);
    } else if (value.is_list() && value.as_list().kind != List::Kind::kGenerator) {
      list(value.as_list().items);
    } else if (value.is_dict()) {
      dict(value.as_dict());
    } else {
      throw OperationError(fmt::format("Object of type {} is not JSON serializable", value.type_name()));
    }
  }

  std::string out;

 private:
  static std::string number(const Value& value) {
    if (value.is_bool()) return value.truth() ? "true" : "false";
    if (!value.is_real()) return std::to_string(value.as_integer());
    if (std::isnan(value.as_real())) return "NaN";
    if (std::isinf(value.as_real())) return value.as_real() < 0 ? "-Infinity" : "Infinity";
    return python_real(value.as_real());
  }

  static std::string key_text(const Value& key) {
    if (key.is_string()) return key.as_string();
    if (key.is_none()) return "null";
    if (key.is_number()) return number(key);
    throw OperationError(fmt::format("keys must be str, int, float, bool or None, not {}", key.type_name()));
  }

  void escape(char32_t c) {
    if (c >= 0x10000) {
      const auto code = static_cast<uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
    } else {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    }
  }

  void string(std::string_view text) {
    constexpr std::string_view kShort = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    rendering_.charge_text(text.size());
    out += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const char32_t c = next_code_point(text, at);
      const size_t place = c < 0x80 ? kShort.find(static_cast<char>(c)) : std::string_view::npos;
      if (place != std::string_view::npos) {
        out += '\\';
        out += kLetters[place];
      } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7E)) {
        escape(c);
      } else {
        out += text.substr(begin, at - begin);
      }
    }
    out += '"';
  }

  void new_line() {
    if (!style_.indent) return;
    out += '\n';
    for (int i = 0; i < level_; ++i) out += *style_.indent;
  }
  // What stands before an item; and behind the last one.
  void before_item(bool first) {
    if (!first) out += style_.item_separator;
    new_line();
  }
  void end(char closing) {
    --level_;
    new_line();
    out += closing;
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    ++level_;
    for (const Value& item : items) {
      before_item(&item == items.data());
      value(item);
    }
    end(']');
  }

  void dict(const Dict& dict) {
    if (dict.entries().empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return Value::compare(a->first, b->first, "<") < 0;
      });
    }
    out += '{';
    ++level_;
    for (const auto* entry : entries) {
      before_item(entry == entries.front());
      string(key_text(entry->first));
      out += style_.key_separator;
      value(entry->second);
    }
    end('}');
  }

  Rendering& rendering_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

std::string to_json(Rendering& rendering, const Value& value, const JsonStyle& style) {
  Writer writer(rendering, style);
  writer.value(value);
  return std::move(writer.out);
}

}  // namespace batchmax::coordinator::jinja
