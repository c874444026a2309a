// The functions that chat templates find: those of Jinja (range, dict, namespace, cycler, joiner) and those
// of transformers (raise_exception, strftime_now).
#pragma once

#include "coordinator/text/template_scope.h"

namespace batchmax::coordinator::jinja {

void define_functions(Scope& scope);

}  // namespace batchmax::coordinator::jinja
