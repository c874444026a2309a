// `batchmax bench`: how fast a running server reads and writes, with prompts of random token ids.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/command.h"

namespace batchmax::coordinator {

config::Command bench_description();

// arguments: behind "bench". Prints its figures to standard output. Returns the exit status: 0, 1 where a
// request failed, 2 for arguments that cannot work.
int bench_command(const std::vector<std::string>& arguments,
                  const std::map<std::string, std::string>& environment);

}  // namespace batchmax::coordinator
