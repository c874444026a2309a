// batchmax: the coordinator's program.
#include <fmt/core.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "config/command.h"
#include "config/completion.h"
#include "config/load.h"
#include "config/man_page.h"
#include "coordinator/client/bench_command.h"
#include "coordinator/client/chat_command.h"
#include "coordinator/commands.h"
#include "coordinator/serve.h"
#include "coordinator/text/tokenize_command.h"

namespace {

std::string usage() {
  return "Usage:\n" + batchmax::config::list_of("batchmax", batchmax::coordinator::commands());
}

// The exit status of a command that was not understood or cannot work as it was given.
constexpr int kBadUsage = 2;

int fail(const std::string& message) {
  fmt::print(stderr, "batchmax: {}\n", message);
  return 1;
}

std::string own_path() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::string("batchmax") : path.string();
}

int run_serve(const std::vector<std::string>& arguments) {
  const auto environment = batchmax::config::process_environment();
  auto outcome = batchmax::config::load(arguments, environment);
  if (const auto* errors = std::get_if<batchmax::config::ConfigErrors>(&outcome)) {
    for (const std::string& message : errors->messages) fmt::print(stderr, "batchmax serve: {}\n", message);
    return kBadUsage;
  }
  auto& loaded = std::get<batchmax::config::Loaded>(outcome);
  if (loaded.help) {
    if (loaded.markdown) {
      fmt::print("{}", batchmax::config::reference_markdown());
    } else {
      fmt::print("Usage: batchmax serve MODEL [flags]\n{}",
                 batchmax::config::options_text(batchmax::config::serve_command()));
    }
    return 0;
  }
  if (loaded.positionals.size() > 1) {
    fmt::print(stderr, "batchmax serve: one model is served, but {} were named; quote a folder with spaces\n",
               loaded.positionals.size());
    return kBadUsage;
  }
  if (!loaded.positionals.empty() && loaded.origins.at("model") == "flag" &&
      loaded.settings.model != loaded.positionals.front()) {
    fmt::print(stderr, "batchmax serve: one model is served, but {} and --model {} were named\n",
               loaded.positionals.front(), loaded.settings.model);
    return kBadUsage;
  }
  if (!loaded.positionals.empty()) {
    loaded.settings.model = loaded.positionals.front();
    loaded.origins["model"] = "argument";
  }
  for (const std::string& warning : loaded.warnings) fmt::print(stderr, "batchmax serve: {}\n", warning);
  if (loaded.print_config) {
    fmt::print("{}", batchmax::config::effective_config(loaded));
    return 0;
  }
  return batchmax::coordinator::serve(loaded.settings, environment, own_path(), BATCHMAX_VERSION);
}

int run_tokenize(const std::vector<std::string>& arguments) {
  batchmax::coordinator::TokenizeOptions options;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      fmt::print("{}", usage());
      return 0;
    }
    if (argument == "--decode") {
      options.decode = true;
    } else if (!argument.starts_with("-") && options.model_folder.empty()) {
      options.model_folder = argument;
    } else {
      fmt::print(stderr, "batchmax tokenize: {} is not understood\n{}", argument, usage());
      return kBadUsage;
    }
  }
  if (options.model_folder.empty()) {
    fmt::print(stderr, "batchmax tokenize: name the model's folder\n{}", usage());
    return kBadUsage;
  }
  return batchmax::coordinator::tokenize_command(options, std::cin, std::cout, std::cerr);
}

int run_completion(const std::vector<std::string>& arguments) {
  const std::string shell = arguments.size() == 1 ? arguments.front() : std::string();
  if (shell == "--help" || shell == "-h") {
    fmt::print("{}", usage());
    return 0;
  }
  const auto script = batchmax::config::completion(shell, "batchmax", batchmax::coordinator::commands());
  if (!script) {
    fmt::print(stderr, "batchmax completion: name one shell: bash, zsh or fish\n");
    return kBadUsage;
  }
  fmt::print("{}", *script);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string command = arguments.empty() ? std::string() : arguments.front();
  const std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  try {
    if (command == "serve") return run_serve(rest);
    if (command == "tokenize") return run_tokenize(rest);
    if (command == "chat")
      return batchmax::coordinator::chat_command(rest, batchmax::config::process_environment());
    if (command == "bench")
      return batchmax::coordinator::bench_command(rest, batchmax::config::process_environment());
    if (command == "completion") return run_completion(rest);
    if (command == "man") {
      fmt::print("{}", batchmax::config::man_page("batchmax", BATCHMAX_VERSION, BATCHMAX_DATE,
                                                  batchmax::coordinator::commands()));
      return 0;
    }
    if (command == "version" || command == "--version") {
      fmt::print("batchmax {}\n", BATCHMAX_VERSION);
      return 0;
    }
    if (command == "help" || command == "--help" || command == "-h") {
      fmt::print("{}", usage());
      return 0;
    }
  } catch (const std::exception& error) {
    return fail(error.what());
  }
  if (!command.empty()) fmt::print(stderr, "batchmax: there is no command {}\n", command);
  fmt::print(stderr, "{}", usage());
  return kBadUsage;
}
