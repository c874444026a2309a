// The table of everything an operator may set. Flags, environment, YAML, --help, --print-config and
// docs/configuration.md all come from it: a new setting is one field in Settings and one row here.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/command.h"
#include "config/settings.h"

namespace batchmax::config {

// Shown for a setting that is empty because it follows from others.
inline constexpr const char* kDerived = "derived";

struct Property : Option {
  bool secret = false;  // never printed

  // Parses, checks the range and stores. Returns what was expected ("an integer from 1 to 64"), empty:
  // stored.
  std::function<std::optional<std::string>(Settings&, std::string_view)> set;
  std::function<std::string(const Settings&)> get;
};

std::vector<Property> properties();

// The known name nearest to `name` by edit distance; empty when none is close.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace batchmax::config
