// `batchmax chat`: a conversation with a running server, from the terminal or from a pipe.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace batchmax::coordinator {

// arguments: behind "chat". Answers go to standard output, everything else to standard error. Returns the
// exit status: 0, 1 when a question was not answered, 2 for arguments that cannot work, 130 when Ctrl-C ended
// a single question.
int chat_command(const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment);

}  // namespace batchmax::coordinator
