#include "coordinator/text/template_filters.h"

#include <fmt/format.h>

#include <charconv>

#include "coordinator/text/template_operators.h"
#include "coordinator/text/template_tests.h"

namespace batchmax::coordinator::jinja {
namespace {

// The arguments behind the first `count`.
Arguments behind(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

const std::string& name_argument(const Arguments& arguments, size_t i, std::string_view function) {
  if (i >= arguments.positional.size() || !arguments.positional[i].is_string())
    throw OperationError(fmt::format("{} needs a name", function));
  return arguments.positional[i].as_string();
}

// Jinja asks for truth first: of none, for example, there are none.
std::vector<Value> items_or_none(const Value& value) {
  return value.truth() ? value.items() : std::vector<Value>();
}

Value map(Rendering& rendering, const Value& value, const Arguments& arguments) {
  const Depth depth(rendering);  // it may map another map
  const Value* attribute = nullptr;
  const Value* otherwise = nullptr;
  if (arguments.positional.empty()) {
    for (const auto& [name, given] : arguments.named) {
      if (name == "attribute") attribute = &given;
      if (name == "default") otherwise = &given;
    }
  }
  std::vector<Value> mapped;
  const std::vector<Value> items = items_or_none(value);
  rendering.charge(items.size());
  if (attribute != nullptr) {
    for (const Value& item : items) mapped.push_back(get_path(rendering, item, *attribute, otherwise));
    return Value::generator(std::move(mapped));
  }
  const std::string& name = name_argument(arguments, 0, "map");
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw OperationError(fmt::format("there is no filter named {}", name));
  const Arguments rest = behind(arguments, 1);
  for (const Value& item : items) mapped.push_back(filter(rendering, item, rest));
  return Value::generator(std::move(mapped));
}

// select, reject, selectattr, rejectattr: what passes a test, or what is true.
template <bool kWanted, bool kByAttribute>
Value select(Rendering& rendering, const Value& value, const Arguments& arguments) {
  constexpr size_t kTest = kByAttribute ? 1 : 0;
  if (kByAttribute && arguments.positional.empty()) throw OperationError("an attribute is missing");
  Test test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > kTest) {
    const std::string& name = name_argument(arguments, kTest, "select");
    test = find_test(name);
    if (test == nullptr) throw OperationError(fmt::format("there is no test named {}", name));
    rest = behind(arguments, kTest + 1);
  }
  std::vector<Value> kept;
  const std::vector<Value> items = items_or_none(value);
  rendering.charge(items.size());
  for (const Value& item : items) {
    const Value tested = kByAttribute ? get_path(rendering, item, arguments.positional[0]) : item;
    const bool passes = test != nullptr ? test(rendering, tested, rest) : tested.truth();
    if (passes == kWanted) kept.push_back(item);
  }
  return Value::generator(std::move(kept));
}

constexpr FilterEntry kFilters[] = {{"map", map},
                                    {"reject", select<false, false>},
                                    {"rejectattr", select<false, true>},
                                    {"select", select<true, false>},
                                    {"selectattr", select<true, true>}};

}  // namespace

Filter find_selecting_filter(std::string_view name) { return find_in_table(kFilters, name); }

Filter find_filter(std::string_view name) {
  for (const auto find : {find_text_filter, find_sequence_filter, find_number_filter, find_selecting_filter})
    if (const Filter filter = find(name)) return filter;
  return nullptr;
}

Value get_path(Rendering& rendering, const Value& value, const Value& path, const Value* otherwise) {
  if (!path.is_string()) return get_item(rendering, value, path);
  Value found = value;
  std::string_view rest = path.as_string();
  for (bool more = true; more;) {
    const size_t dot = rest.find('.');
    const std::string_view name = rest.substr(0, dot);
    more = dot != std::string_view::npos;
    if (more) rest.remove_prefix(dot + 1);
    int64_t number = 0;
    const auto end = std::from_chars(name.data(), name.data() + name.size(), number);
    const bool is_number = !name.empty() && end.ec == std::errc() && end.ptr == name.data() + name.size();
    rendering.charge(1);
    found = get_item(rendering, found, is_number ? Value::integer(number) : Value::string(std::string(name)));
    if (otherwise != nullptr && found.is_undefined()) found = *otherwise;
  }
  return found;
}

}  // namespace batchmax::coordinator::jinja
