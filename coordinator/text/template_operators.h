// Operators, attributes and items with the meaning that Python and Jinja give them. Throw OperationError.
#pragma once

#include <optional>
#include <string_view>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_tree.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

// All but and, or.
Value binary_operation(Rendering& rendering, Binary::Operator op, const Value& left, const Value& right);
Value unary_operation(Unary::Operator op, const Value& operand);
bool compare_values(Rendering& rendering, Comparison::Operator op, const Value& left, const Value& right);
bool contains(Rendering& rendering, const Value& whole, const Value& part);

// object.name: methods before keys. Undefined where there is none.
Value get_attribute(const Value& object, std::string_view name);
// object[index]: keys before methods. Undefined where there is none.
Value get_item(Rendering& rendering, const Value& object, const Value& index);
// object[start:stop:step]; undefined bounds are those left out.
Value get_slice(Rendering& rendering, const Value& object, const Value& start, const Value& stop,
                const Value& step);
Value call_value(Rendering& rendering, const Value& callee, const Arguments& arguments);

}  // namespace batchmax::coordinator::jinja
