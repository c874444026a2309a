#include "coordinator/commands.h"

#include "coordinator/client/bench_command.h"
#include "coordinator/client/chat_flags.h"

namespace batchmax::coordinator {
namespace {

config::Command without_flags(const char* name, const char* usage, const char* argument,
                              const char* sentence) {
  config::Command command;
  command.name = name;
  command.usage = usage;
  command.argument = argument;
  command.sentence = sentence;
  return command;
}

config::Command tokenize_description() {
  config::Command command =
      without_flags("tokenize", "MODEL [--decode]", "folder",
                    "JSON strings on standard input to lists of token ids, or the other way");
  config::Option decode;
  decode.name = "decode";
  decode.sentence = "Lists of ids in, strings out.";
  command.options.push_back(std::move(decode));
  return command;
}

}  // namespace

std::vector<config::Command> commands() {
  return {config::serve_command(),
          chat_description(),
          bench_description(),
          tokenize_description(),
          without_flags("completion", "SHELL", "bash | zsh | fish", "print completion for bash, zsh or fish"),
          without_flags("man", "", "", "print the manual page: batchmax man | man -l -"),
          without_flags("version", "", "", "print the version")};
}

}  // namespace batchmax::coordinator
