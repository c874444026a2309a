// The manual page, written from the table of commands. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/command.h"

namespace batchmax::config {

// Source in the man(7) language, section 1. date: "2026-11-25".
std::string man_page(const std::string& program, const std::string& version, const std::string& date,
                     const std::vector<Command>& commands);

}  // namespace batchmax::config
