// Everything that is printed from the table: help, reference page, effective values.
#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "config/command.h"
#include "config/load.h"
#include "config/property.h"

namespace batchmax::config {
namespace {

std::string default_of(const Option& option) {
  return option.default_value.empty() ? "empty" : option.default_value;
}

std::string type_of(const Option& option) {
  return option.range.empty() ? option.type : option.type + ", " + option.range;
}

// What stands for a value that follows from others.
std::string derived_value(const Settings& settings, const std::string& name) {
  const auto resolved = resolve(settings.compression, std::nullopt, std::nullopt);
  const auto* compression = std::get_if<Compression>(&resolved);
  if (compression != nullptr && name == "recent") return std::to_string(compression->recent);
  if (compression != nullptr && name == "prompt-tail") return std::to_string(compression->prompt_tail);
  return {};
}

}  // namespace

Command serve_command() {
  Command command;
  command.name = "serve";
  command.usage = "MODEL [flags]";
  command.sentence = "serve the model in folder MODEL over HTTP";
  command.argument = "folder";
  for (Property& property : properties()) command.options.push_back(std::move(property));
  const auto add = [&](const char* name, const char* alias, const char* type, const char* sentence) {
    Option option;
    option.name = name;
    option.alias = alias;
    option.section = "General";
    option.type = type;
    option.sentence = sentence;
    command.options.push_back(std::move(option));
  };
  add("config", "", "file",
      "YAML file with any of these names; the environment (BATCHMAX_*) and flags override it.");
  command.options.back().environment = "BATCHMAX_CONFIG";
  add("print-config", "", "", "Show every effective value and where it came from, then end.");
  add("help", "-h", "", "Show this text, then end.");
  return command;
}

std::string list_of(const std::string& program, const std::vector<Command>& commands) {
  size_t width = 0;
  for (const Command& command : commands) width = std::max(width, command.name.size() + command.usage.size());
  std::string text;
  for (const Command& command : commands) {
    const std::string padding(width - command.name.size() - command.usage.size() + 3, ' ');
    text += "  " + program + " " + command.name + " " + command.usage + padding + command.sentence + "\n";
  }
  return text;
}

std::string options_text(const Command& command) {
  std::string text;
  std::string section;
  for (const Option& option : command.options) {
    if (option.section != section) {
      section = option.section;
      text += "\n" + section + "\n";
    }
    text += "  --" + option.name + (option.alias.empty() ? "" : ", " + option.alias) + "\n      " +
            option.sentence + "\n";
    if (!option.type.empty()) text += "      " + type_of(option) + "; default " + default_of(option) + "\n";
  }
  return text;
}

std::string reference_markdown() {
  std::string text =
      "# Configuration\n\nA value comes from a YAML file (`--config FILE`), the environment or a flag; the "
      "later of the three "
      "wins. `--print-config` shows every effective value and where it came from. This page is printed by "
      "`batchmax serve --help=markdown`.\n";
  std::string section;
  for (const Property& property : properties()) {
    if (property.section != section) {
      section = property.section;
      text += "\n## " + section +
              "\n\n| flag and YAML name | environment | type and range | default | meaning "
              "|\n|---|---|---|---|---|\n";
    }
    std::string type = type_of(property);
    for (size_t at = 0; (at = type.find('|', at)) != std::string::npos; at += 2) type.insert(at, "\\");
    text += "| `--" + property.name + "`" + (property.alias.empty() ? "" : " `" + property.alias + "`") +
            " | `" + property.environment + "` | " + type + " | " + default_of(property) + " | " +
            property.sentence + " |\n";
  }
  return text;
}

std::string effective_config(const Loaded& loaded) {
  std::string text;
  for (const Property& property : properties()) {
    std::string value = property.get(loaded.settings);
    std::string origin = loaded.origins.at(property.name);
    if (value == kDerived) {
      value = derived_value(loaded.settings, property.name);
      origin = kDerived;
    }
    YAML::Emitter shown;
    shown << (property.secret && !value.empty() ? std::string("(hidden)") : value);
    text += property.name + ": " + shown.c_str() + "  # " + origin + "\n";
  }
  return text;
}

std::string to_yaml(const Settings& settings) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const Property& property : properties()) {
    const std::string value = property.get(settings);
    if (property.secret || value.empty() || value == kDerived) continue;
    out << YAML::Key << property.name << YAML::Value << value;
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace batchmax::config
