#include "coordinator/client/flags.h"

#include <fmt/format.h>

#include <cstdio>

#include "config/parse_number.h"
#include "config/property.h"

namespace batchmax::coordinator {
namespace {

Flag make_flag(const char* name, std::string type, std::string range, const char* sentence) {
  Flag flag;
  flag.name = name;
  flag.type = std::move(type);
  flag.range = std::move(range);
  flag.sentence = sentence;
  return flag;
}

template <typename N>
Flag numeric_flag(const char* name, const char* type, N least, N most, const char* sentence,
                  std::optional<N>& variable) {
  Flag flag = make_flag(name, type, fmt::format("{} to {}", least, most), sentence);
  if (variable) flag.default_value = fmt::format("{}", *variable);
  const std::string expected = fmt::format("a value from {}", flag.range);
  flag.set = [=, &variable](std::string_view text) -> std::optional<std::string> {
    const auto value = config::parse_number<N>(text);
    // Written so that NaN is out of range.
    if (!value || !(*value >= least && *value <= most)) return expected;
    variable = value;
    return std::nullopt;
  };
  return flag;
}

const Flag* find(const std::vector<Flag>& flags, std::string_view name) {
  for (const Flag& flag : flags) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

std::string unknown(const std::string& key, const std::vector<Flag>& flags) {
  std::vector<std::string> names;
  for (const Flag& flag : flags) names.push_back(flag.name);
  const std::string nearest =
      config::nearest_name(std::string_view(key).substr(key.starts_with("--") ? 2 : 1), names);
  return key + ": no such flag; " +
         (nearest.empty() ? "--help lists them, and -- comes before text that begins with -"
                          : "did you mean --" + nearest + "?");
}

}  // namespace

Flag text_flag(const char* name, const char* type, const char* sentence, std::string& variable) {
  Flag flag = make_flag(name, type, "", sentence);
  flag.default_value = variable;
  flag.set = [&variable](std::string_view text) -> std::optional<std::string> {
    variable = std::string(text);
    return std::nullopt;
  };
  return flag;
}

Flag choice_flag(const char* name, std::vector<std::string> choices, const char* sentence,
                 std::string& variable) {
  const std::string joined = fmt::format("{}", fmt::join(choices, " | "));
  Flag flag = make_flag(name, joined, "", sentence);
  flag.default_value = variable;
  flag.set = [choices = std::move(choices), joined,
              &variable](std::string_view text) -> std::optional<std::string> {
    for (const std::string& choice : choices) {
      if (choice != text) continue;
      variable = choice;
      return std::nullopt;
    }
    return "one of " + joined;
  };
  return flag;
}

Flag integer_flag(const char* name, int64_t least, int64_t most, const char* sentence,
                  std::optional<int64_t>& variable) {
  return numeric_flag(name, "integer", least, most, sentence, variable);
}

Flag number_flag(const char* name, double least, double most, const char* sentence,
                 std::optional<double>& variable) {
  return numeric_flag(name, "number", least, most, sentence, variable);
}

void add_section(std::vector<Flag>& flags, const char* heading, std::vector<Flag> own) {
  for (Flag& flag : own) {
    flag.section = heading;
    flags.push_back(std::move(flag));
  }
}

config::Command describe(const char* name, const char* usage, const char* sentence, std::vector<Flag> flags) {
  config::Command command;
  command.name = name;
  command.usage = usage;
  command.sentence = sentence;
  for (Flag& flag : flags) command.options.push_back(std::move(flag));
  return command;
}

Arguments read_arguments(const std::vector<std::string>& arguments, const std::vector<Flag>& flags) {
  Arguments read;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      read.positionals.insert(read.positionals.end(), arguments.begin() + static_cast<ptrdiff_t>(i) + 1,
                              arguments.end());
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      read.positionals.push_back(argument);
      continue;
    }
    if (argument == "--help" || argument == "-h") {
      read.help = true;
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string key = argument.substr(0, equals);
    const Flag* flag = key.starts_with("--") ? find(flags, std::string_view(key).substr(2)) : nullptr;
    if (flag == nullptr) {
      read.errors.push_back(unknown(key, flags));
    } else if (equals == std::string::npos && i + 1 == arguments.size()) {
      read.errors.push_back(key + ": a value is missing");
    } else {
      const std::string value = equals == std::string::npos ? arguments[++i] : argument.substr(equals + 1);
      if (const auto expected = flag->set(value))
        read.errors.push_back(fmt::format("{}: '{}' is not valid; expected {}", key, value, *expected));
    }
  }
  return read;
}

std::optional<int> end_early(const Arguments& arguments, const config::Command& command) {
  if (arguments.help) {
    fmt::print("Usage: batchmax {} {}\n{}", command.name, command.usage, config::options_text(command));
    return 0;
  }
  for (const std::string& error : arguments.errors)
    fmt::print(stderr, "batchmax {}: {}\n", command.name, error);
  return arguments.errors.empty() ? std::nullopt : std::optional(2);
}

}  // namespace batchmax::coordinator
