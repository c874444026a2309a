// The flags of a command that talks to a server: rows like those of config/property.h, each bound to the
// variable it fills.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/command.h"

namespace batchmax::coordinator {

struct Flag : config::Option {
  // Parses, checks the range and stores. Returns what was expected, empty: stored.
  std::function<std::optional<std::string>(std::string_view)> set;
};

// The variable must outlive the flag; what it holds now is the default that help shows.
Flag text_flag(const char* name, const char* type, const char* sentence, std::string& variable);
Flag choice_flag(const char* name, std::vector<std::string> choices, const char* sentence,
                 std::string& variable);
Flag integer_flag(const char* name, int64_t least, int64_t most, const char* sentence,
                  std::optional<int64_t>& variable);
Flag number_flag(const char* name, double least, double most, const char* sentence,
                 std::optional<double>& variable);

// Puts `own` behind `flags`, under a heading.
void add_section(std::vector<Flag>& flags, const char* heading, std::vector<Flag> own);

// The command with these flags.
config::Command describe(const char* name, const char* usage, const char* sentence, std::vector<Flag> flags);

struct Arguments {
  std::vector<std::string> positionals;
  bool help = false;
  std::vector<std::string> errors;  // one line each, all of them
};
// "--name value" and "--name=value"; --help, -h; after "--" nothing is a flag.
Arguments read_arguments(const std::vector<std::string>& arguments, const std::vector<Flag>& flags);

// Where the arguments end the command, says so and returns its exit status: help goes to standard output (0),
// errors to standard error (2).
std::optional<int> end_early(const Arguments& arguments, const config::Command& command);

}  // namespace batchmax::coordinator
