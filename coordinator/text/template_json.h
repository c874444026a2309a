// Python's json.dumps.
#pragma once

#include <optional>
#include <string>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// Throws OperationError for what JSON does not have.
std::string to_json(Rendering& rendering, const Value& value, const JsonStyle& style);

}  // namespace batchmax::coordinator::jinja
