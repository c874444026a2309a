// Everything that is printed from the table: help, reference page, effective values.
#include <yaml-cpp/yaml.h>

#include "config/load.h"
#include "config/property.h"

namespace batchmax::config {
namespace {

std::string default_of(const Property& property) {
  const std::string value = property.get(Settings{});
  return value.empty() ? "empty" : value;
}

std::string type_of(const Property& property) {
  return property.range.empty() ? property.type : property.type + ", " + property.range;
}

}  // namespace

std::string help_text() {
  std::string text;
  std::string section;
  for (const Property& property : properties()) {
    if (property.section != section) {
      section = property.section;
      text += "\n" + section + "\n";
    }
    text += "  --" + property.name + (property.alias.empty() ? "" : ", " + property.alias) + "\n      " +
            property.sentence + "\n      " + type_of(property) + "; default " + default_of(property) + "\n";
  }
  text +=
      "\nGeneral\n"
      "  --config FILE\n      YAML file with any of these names; the environment (BATCHMAX_*) and flags "
      "override it.\n"
      "  --print-config\n      Show every effective value and where it came from, then end.\n"
      "  --help, -h\n      Show this text, then end.\n";
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
            " | `" + environment_name(property) + "` | " + type + " | " + default_of(property) + " | " +
            property.sentence + " |\n";
  }
  return text;
}

std::string effective_config(const Loaded& loaded) {
  std::string text;
  for (const Property& property : properties()) {
    const std::string value = property.get(loaded.settings);
    YAML::Emitter shown;
    shown << (property.secret && !value.empty() ? std::string("(hidden)") : value);
    text += property.name + ": " + shown.c_str() + "  # " + loaded.origins.at(property.name) + "\n";
  }
  return text;
}

std::string to_yaml(const Settings& settings) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const Property& property : properties()) {
    const std::string value = property.get(settings);
    if (property.secret || value.empty() || value == "derived") continue;
    out << YAML::Key << property.name << YAML::Value << value;
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace batchmax::config
