// The table of everything an operator may set. Flags, environment, YAML, --help, --print-config and
// docs/configuration.md all come from it: a new setting is one field in Settings and one row here.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.h"

namespace batchmax::config {

struct Property {
  std::string name;      // "max-model-len": flag --max-model-len, YAML max-model-len, BATCHMAX_MAX_MODEL_LEN
  std::string alias;     // "-tp", or empty
  std::string section;   // heading in the help
  std::string type;      // "integer", "number", "text", "list", or the choices "a | b | c"
  std::string range;     // "1 to 64", or empty
  std::string sentence;  // what it is, with its unit
  bool secret = false;   // never printed

  // Parses, checks the range and stores. Returns what was expected ("an integer from 1 to 64"), empty:
  // stored.
  std::function<std::optional<std::string>(Settings&, std::string_view)> set;
  std::function<std::string(const Settings&)> get;
};

std::vector<Property> properties();

// "BATCHMAX_MAX_MODEL_LEN".
std::string environment_name(const Property& property);

// The known name nearest to `name` by edit distance; empty when none is close.
std::string nearest_name(std::string_view name, const std::vector<Property>& known);

}  // namespace batchmax::config
