// The filters of Jinja, and tojson as transformers has it. Throw OperationError.
#pragma once

#include <string_view>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

using Filter = Value (*)(Rendering&, const Value& value, const Arguments&);

Filter find_filter(std::string_view name);  // null: there is none

// By what a filter is about; find_filter asks each.
Filter find_text_filter(std::string_view name);
Filter find_number_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);
Filter find_selecting_filter(std::string_view name);  // those that apply other filters and tests

struct FilterEntry {
  std::string_view name;
  Filter filter;
};
template <typename Entries>
Filter find_in_table(const Entries& entries, std::string_view name) {
  for (const FilterEntry& entry : entries)
    if (entry.name == name) return entry.filter;
  return nullptr;
}

// value.a.b, value.0 for the attribute "a.b" or "0" or 0. `otherwise` stands in for what is undefined.
Value get_path(Rendering& rendering, const Value& value, const Value& path, const Value* otherwise = nullptr);

}  // namespace batchmax::coordinator::jinja
