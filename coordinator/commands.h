// The commands of `batchmax`, as --help, the manual page and completion list them.
#pragma once

#include <vector>

#include "config/command.h"

namespace batchmax::coordinator {

std::vector<config::Command> commands();

}  // namespace batchmax::coordinator
