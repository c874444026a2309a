// Settings from a YAML file < BATCHMAX_* environment < flags. Every problem is collected, none hides another.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "config/settings.h"

namespace batchmax::config {

struct Loaded {
  Settings settings;
  std::map<std::string, std::string>
      origins;                           // property name -> "default", "file f.yaml", "environment", "flag"
  std::vector<std::string> positionals;  // arguments that are no flags, in order
  std::vector<std::string> warnings;     // BATCHMAX_* variables that name nothing
  bool help = false;
  bool markdown = false;  // --help=markdown: reference_markdown() instead of the help
  bool print_config = false;
};

struct ConfigErrors {
  std::vector<std::string> messages;  // one line each: key, value, what was expected, the nearest known name
};

// arguments: without the program's name. --config FILE (or BATCHMAX_CONFIG) names the YAML file. --help and
// --print-config are flags of every command. Checks each value's range, then the rules between values.
std::variant<Loaded, ConfigErrors> load(const std::vector<std::string>& arguments,
                                        const std::map<std::string, std::string>& environment);

// The process's environment, as load() takes it.
std::map<std::string, std::string> process_environment();

std::string reference_markdown();                    // docs/configuration.md
std::string effective_config(const Loaded& loaded);  // "name: value  # origin" lines, a file for --config
std::string to_yaml(const Settings& settings);  // all values but secrets, for the workers that serve starts

}  // namespace batchmax::config
