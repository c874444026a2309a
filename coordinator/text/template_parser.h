// The source of a chat template to its tree. Pure; throws TemplateError with line and reason. What Jinja has
// for several files (extends, block, include, import) is refused by name.
#pragma once

#include <string_view>

#include "coordinator/text/template_tree.h"

namespace batchmax::coordinator::jinja {

Body parse_template(std::string_view source);

}  // namespace batchmax::coordinator::jinja
