// The tests of Jinja: what follows `is`. Throw OperationError.
#pragma once

#include <string_view>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

using Test = bool (*)(Rendering&, const Value& value, const Arguments&);

Test find_test(std::string_view name);  // null: there is none

}  // namespace batchmax::coordinator::jinja
