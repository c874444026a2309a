// The arguments of one call of a filter, test, method or function, by the names of its parameters. Refers to
// the arguments. Throws OperationError for what does not fit.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  // None counts as not given for the forms with a default, as Python's libraries have it.
  bool has(size_t i) const { return given_[i] != nullptr && !given_[i]->is_none(); }
  const Value& at(size_t i) const;
  Value value_or(size_t i, Value otherwise) const { return given_[i] != nullptr ? *given_[i] : otherwise; }
  const std::string& string(size_t i) const;
  std::string string_or(size_t i, std::string_view otherwise) const;
  int64_t integer(size_t i) const;
  int64_t integer_or(size_t i, int64_t otherwise) const { return has(i) ? integer(i) : otherwise; }
  bool truth_or(size_t i, bool otherwise) const {
    return given_[i] != nullptr ? given_[i]->truth() : otherwise;
  }

 private:
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> given_;
};

}  // namespace batchmax::coordinator::jinja
