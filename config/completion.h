// Shell completion, written from the table of commands. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/command.h"

namespace batchmax::config {

// The script for "bash", "zsh" or "fish"; empty for any other shell. It completes the names of commands and
// flags, the choices of a flag, and file names where a flag or argument wants a file or a folder.
std::optional<std::string> completion(std::string_view shell, const std::string& program,
                                      const std::vector<Command>& commands);

}  // namespace batchmax::config
