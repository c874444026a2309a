// The command line and the environment of one group. Pure, but for the look-ups, which say what to do when
// they fail.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/settings.h"

namespace batchmax::coordinator {

struct GroupCommand {
  std::string mpirun;         // path
  std::string worker;         // path
  std::string configuration;  // path of the file with the group's settings
  bool as_root = false;       // Open MPI refuses to run as root unless told
};

// mpirun [--hostfile FILE] ... -np TP worker --config FILE. No secret stands in it.
std::vector<std::string> command_line(const GroupCommand& command, const config::Settings& settings);

// What the group inherits: everything but BATCHMAX_*, which would override the settings in its file; and a
// PATH where there is none.
std::vector<std::string> group_environment(const std::map<std::string, std::string>& own);

// The program on the PATH; throws std::runtime_error.
std::string find_mpirun(const std::map<std::string, std::string>& environment);
// batchmax-worker beside `program`; throws std::runtime_error.
std::string find_worker(const std::string& program);

}  // namespace batchmax::coordinator
