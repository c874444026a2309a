// Text of a server, fit for a terminal: control characters become U+FFFD, so that it cannot steer the
// terminal; so does what is no UTF-8. Pure.
#pragma once

#include <string>
#include <string_view>

namespace batchmax::coordinator {

std::string printable(std::string_view text);  // newline and tab stay
std::string one_line(std::string_view text);   // line ends become spaces

}  // namespace batchmax::coordinator
