// Python's two ways to put values into a text: 'x %s' % value and 'x {}'.format(value). Throw OperationError.
#pragma once

#include <string>
#include <string_view>

#include "coordinator/text/template_rendering.h"
#include "coordinator/text/template_value.h"

namespace batchmax::coordinator::jinja {

// values: a tuple for several places, a dict for named ones, else the one value.
std::string format_percent(Rendering& rendering, std::string_view pattern, const Value& values);
std::string format_braces(Rendering& rendering, std::string_view pattern, const Arguments& arguments);

}  // namespace batchmax::coordinator::jinja
