// The host file of mpirun, checked before mpirun reads it: its own complaints do not always name the line.
// Pure, but for check_host_file().
#pragma once

#include <optional>
#include <string>

namespace batchmax::coordinator {

// What is wrong with the text of a host file; empty: nothing. Lines are `HOST [slots=N] [max_slots=N]
// [user=NAME]`,
// `#` begins a comment. The answer begins with the number of the line: "3: slots=x: expected ...".
std::optional<std::string> host_file_fault(const std::string& text);

// Throws std::runtime_error naming file and line.
void check_host_file(const std::string& file);

}  // namespace batchmax::coordinator
