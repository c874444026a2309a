// `batchmax serve`: builds the coordinator from the settings, runs it until a signal or a failure, and ends
// all that it started.
#pragma once

#include <map>
#include <string>

#include "config/settings.h"

namespace batchmax::coordinator {

// program: path of the running binary. Returns the exit status: 0 after SIGTERM or SIGINT, 1 when a group was
// given up. Throws std::runtime_error with one line that says what to do where it cannot start.
int serve(config::Settings settings, const std::map<std::string, std::string>& environment,
          const std::string& program, const std::string& version);

}  // namespace batchmax::coordinator
