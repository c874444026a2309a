// What a user can type: the commands of a program with their options, as --help, the manual page and shell
// completion show them. Values only.
#pragma once

#include <string>
#include <vector>

namespace batchmax::config {

struct Option {
  std::string name;      // "max-model-len": flag --max-model-len
  std::string alias;     // "-tp", or empty
  std::string section;   // heading in the help
  std::string type;      // "integer", "number", "bytes", "text", "list", "file", "folder", or the choices
                         // "a | b | c"; empty: a switch without a value
  std::string range;     // "1 to 64", or empty
  std::string sentence;  // what it is, with its unit
  std::string default_value;  // empty: none
  std::string environment;    // "BATCHMAX_MAX_MODEL_LEN"; empty: flag only
};

struct Command {
  std::string name;      // "serve"
  std::string usage;     // "MODEL [flags]": what follows the name
  std::string sentence;  // what it does, in a few words without a full stop
  std::string argument;  // type of its positional arguments, as Option::type; empty: none that can be guessed
  std::vector<Option> options;
};

// The flags that the table of properties holds, and --config, --print-config and --help.
Command serve_command();

// "  serve MODEL [flags]     what it does", a line for each.
std::string list_of(const std::string& program, const std::vector<Command>& commands);

// Every option with its sentence, type, range and default, under the headings of its sections.
std::string options_text(const Command& command);

}  // namespace batchmax::config
