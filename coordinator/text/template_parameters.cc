#include "coordinator/text/template_parameters.h"

#include <fmt/format.h>

#include <algorithm>

namespace batchmax::coordinator::jinja {

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : function_(function), names_(names), given_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size())
    throw OperationError(fmt::format("{} takes at most {} arguments, {} were given", function, names.size(),
                                     arguments.positional.size()));
  for (size_t i = 0; i < arguments.positional.size(); ++i) given_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end())
      throw OperationError(fmt::format("{} has no argument named {}", function, name));
    const Value*& place = given_[static_cast<size_t>(found - names_.begin())];
    if (place != nullptr) throw OperationError(fmt::format("{}: {} is given twice", function, name));
    place = &value;
  }
}

const Value& Parameters::at(size_t i) const {
  if (given_[i] == nullptr)
    throw OperationError(fmt::format("{}: the argument {} is missing", function_, names_[i]));
  return *given_[i];
}

const std::string& Parameters::string(size_t i) const {
  const Value& value = at(i);
  if (value.is_undefined()) throw OperationError(value.why_undefined());
  if (!value.is_string())
    throw OperationError(
        fmt::format("{}: {} must be a string, not {}", function_, names_[i], value.type_name()));
  return value.as_string();
}

std::string Parameters::string_or(size_t i, std::string_view otherwise) const {
  return has(i) ? string(i) : std::string(otherwise);
}

int64_t Parameters::integer(size_t i) const {
  const Value& value = at(i);
  if (value.is_undefined()) throw OperationError(value.why_undefined());
  if (!value.is_integer() && !value.is_bool())
    throw OperationError(
        fmt::format("{}: {} must be an integer, not {}", function_, names_[i], value.type_name()));
  return value.as_integer();
}

}  // namespace batchmax::coordinator::jinja
