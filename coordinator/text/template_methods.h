// The methods that templates call on strings, dicts and lists; Python's, without those that change a value.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

// The method bound to the value, or nothing. One that would change it can be had, but its call fails.
std::optional<Value> find_method(const Value& value, std::string_view name);

using StringMethod = Value (*)(Rendering&, const std::string& text, const Arguments&);
StringMethod find_string_method(std::string_view name);  // null: there is none

// text.replace(old, by, most) of Python; most < 0: all.
std::string replaced(Rendering& rendering, std::string_view text, std::string_view old, std::string_view by,
                     int64_t most);

// A function or a bound method.
class Function : public Object {
 public:
  std::string type_name() const override { return "function"; }
  bool is_callable() const override { return true; }
};

}  // namespace batchmax::coordinator::jinja
