#include "config/load.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

#include "config/property.h"

extern char** environ;

namespace batchmax::config {
namespace {

std::vector<std::string> names_of(const std::vector<Property>& table) {
  std::vector<std::string> names;
  for (const Property& property : table) names.push_back(property.name);
  return names;
}

class Loader {
 public:
  explicit Loader(Loaded& loaded) : loaded_(loaded), table_(properties()) {
    for (const Property& property : table_) loaded_.origins[property.name] = "default";
  }

  void set(const Property& property, const std::string& value, const std::string& key,
           const std::string& origin) {
    if (const auto expected = property.set(loaded_.settings, value)) {
      const std::string shown = property.secret ? "(hidden)" : "'" + value + "'";
      error(key + ": " + shown + " is not valid; expected " + *expected, property.name);
    } else {
      loaded_.origins[property.name] = origin;
    }
  }

  void unknown(const std::string& key, std::string_view name, const std::string& prefix) {
    // tp, where a flag has two dashes or stands in a file.
    const Property* shortened = find("-" + std::string(name));
    const std::string nearest = shortened != nullptr ? shortened->name : nearest_name(name, names_of(table_));
    error(key + ": no such setting" + (nearest.empty() ? "" : "; did you mean " + prefix + nearest + "?"),
          nearest);
  }

  // Of the environment, as unknown() does; empty: nothing is near.
  std::string nearest_variable(const std::string& variable) const {
    std::string name = variable.substr(std::string_view("BATCHMAX_").size());
    for (char& c : name) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const Property* property = find(nearest_name(name, names_of(table_)));
    return property == nullptr ? "" : property->environment;
  }

  const Property* find(std::string_view name) const {
    for (const Property& property : table_) {
      if (property.name == name || (!property.alias.empty() && property.alias == name)) return &property;
    }
    return nullptr;
  }

  const std::vector<Property>& table() const { return table_; }
  // `name`: the setting whose value is not known for it; empty: none.
  void error(std::string message, const std::string& name = {}) {
    errors_.push_back(std::move(message));
    wrong_.insert(name);
  }
  // Whether all of these have the values that were meant, so that a rule between them can be judged.
  bool known(std::initializer_list<const char*> names) const {
    return std::none_of(names.begin(), names.end(), [&](const char* name) { return wrong_.contains(name); });
  }
  std::vector<std::string>& errors() { return errors_; }

 private:
  Loaded& loaded_;
  std::vector<Property> table_;
  std::vector<std::string> errors_;
  std::set<std::string> wrong_;
};

struct Flag {
  std::string name;
  std::string value;
};

// Of a list, each flag names more; of anything else, the last wins.
void add_flag(Flag flag, bool list, std::vector<Flag>& flags) {
  const auto same = std::find_if(flags.begin(), flags.end(),
                                 [&](const Flag& earlier) { return list && earlier.name == flag.name; });
  if (same == flags.end()) {
    flags.push_back(std::move(flag));
  } else {
    same->value += "," + flag.value;
  }
}

// Splits the command line; flags are applied after file and environment.
std::vector<Flag> read_flags(const std::vector<std::string>& arguments, Loader& loader, Loaded& loaded,
                             std::optional<std::string>& file) {
  std::vector<Flag> flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      loaded.help = true;
    } else if (argument == "--help=markdown") {
      loaded.help = loaded.markdown = true;
    } else if (argument == "--print-config") {
      loaded.print_config = true;
    } else if (argument.size() < 2 || argument[0] != '-') {
      loaded.positionals.push_back(argument);
    } else {
      const size_t equals = argument.find('=');
      const std::string key = argument.substr(0, equals);
      const bool is_config = key == "--config";
      const Property* property = loader.find(key.starts_with("--") ? key.substr(2) : key);
      if (!is_config && property == nullptr) {
        loader.unknown(
            key, key.substr(key.find_first_not_of('-') == std::string::npos ? 0 : key.find_first_not_of('-')),
            "--");
        // The value of an unknown flag is no positional.
        if (equals == std::string::npos && i + 1 < arguments.size() && arguments[i + 1][0] != '-') ++i;
        continue;
      }
      std::string value;
      if (equals != std::string::npos) {
        value = argument.substr(equals + 1);
      } else if (i + 1 < arguments.size()) {
        value = arguments[++i];
      } else {
        loader.error(key + ": a value is missing", is_config ? "" : property->name);
        continue;
      }
      if (is_config) {
        file = value;
      } else {
        add_flag({property->name, value}, property->type == "list", flags);
      }
    }
  }
  return flags;
}

std::string scalar_or_list(const YAML::Node& node) {
  if (!node.IsSequence()) return node.as<std::string>();
  std::string joined;
  for (const YAML::Node& item : node) joined += (joined.empty() ? "" : ",") + item.as<std::string>();
  return joined;
}

// Whether more follows the first document. YAML::Load stops there; YAML::LoadAll never ends on some bytes
// (yaml-cpp 0.7).
bool has_more_documents(const std::string& text) {
  const auto marks = [](const std::string& line, std::string_view mark) {
    return line.starts_with(mark) && (line.size() == 3 || line.find_first_of(" \t\r") == 3);
  };
  std::istringstream lines(text);
  bool begun = false;
  bool ended = false;
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos || line[first] == '#') continue;
    if (ended || (begun && marks(line, "---"))) return true;
    ended = marks(line, "...");
    begun = begun || line[0] != '%';
  }
  return false;
}

void read_file(const std::string& path, Loader& loader) {
  // A folder opens, but does not read.
  std::ifstream stream(path);
  if (stream.peek(); stream.bad() || !stream.is_open()) {
    loader.error("--config: cannot read '" + path + "'");
    return;
  }
  stream.clear();
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    loader.error(path + ": not valid YAML: " + error.what());
    return;
  }
  if (has_more_documents(text)) {
    loader.error(path + ": expected one YAML document, found more");
    return;
  }
  if (root.IsNull()) return;
  if (!root.IsMap()) {
    loader.error(path + ": expected 'name: value' lines");
    return;
  }
  std::set<std::string> seen;
  for (const auto& entry : root) {
    std::string name;
    try {
      name = entry.first.as<std::string>();
      for (char& c : name) c = c == '_' ? '-' : c;
      const std::string key = path + ":" + std::to_string(entry.first.Mark().line + 1) + ": " + name;
      const Property* property = loader.find(name);
      if (property == nullptr) {
        loader.unknown(key, name, "");
      } else if (!seen.insert(property->name).second) {
        loader.error(key + ": stands twice in this file", name);
      } else if (entry.second.IsNull()) {
        loader.error(key + ": a value is missing", name);
      } else {
        loader.set(*property, scalar_or_list(entry.second), key, "file " + path);
      }
    } catch (const YAML::Exception&) {
      loader.error(path + ":" + std::to_string(entry.first.Mark().line + 1) + ": " + name +
                       ": expected one value or a list of values",
                   name);
    }
  }
}

void read_environment(const std::map<std::string, std::string>& environment, Loader& loader, Loaded& loaded) {
  std::map<std::string, const Property*> by_variable;
  for (const Property& property : loader.table()) by_variable[property.environment] = &property;
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("BATCHMAX_") || variable == "BATCHMAX_CONFIG" || variable == "BATCHMAX_SECRET")
      continue;
    if (const auto found = by_variable.find(variable); found != by_variable.end()) {
      loader.set(*found->second, value, variable, "environment");
    } else {
      // Orchestrators put variables of their own next to ours (a Kubernetes service called batchmax does).
      const std::string nearest = loader.nearest_variable(variable);
      loaded.warnings.push_back(variable + " names no setting and is ignored" +
                                (nearest.empty() ? "" : "; did you mean " + nearest + "?"));
    }
  }
}

void check_rules(const Settings& settings, Loader& loader) {
  const auto resolved = resolve(settings.compression, std::nullopt, std::nullopt);
  if (const auto* too_small = std::get_if<BudgetTooSmall>(&resolved);
      too_small != nullptr &&
      loader.known({"compression", "kv-budget", "prefill-block", "sinks", "recent", "prompt-tail"})) {
    loader.error(too_small->message);
  }
  if (settings.ssl_certfile.empty() && !settings.ssl_keyfile.empty() && loader.known({"ssl-certfile"}))
    loader.error("--ssl-keyfile: it needs --ssl-certfile, the certificate that the key belongs to");
  if (settings.worker_ssl_certfile.empty() && !settings.worker_ssl_keyfile.empty() &&
      loader.known({"worker-ssl-certfile"})) {
    loader.error(
        "--worker-ssl-keyfile: it needs --worker-ssl-certfile, the certificate that the key belongs to");
  }
  const int64_t least = int64_t{settings.max_num_seqs} + settings.compression.block;
  if (settings.max_num_batched_tokens != 0 && settings.max_num_batched_tokens < least &&
      loader.known({"max-num-seqs", "prefill-block", "max-num-batched-tokens"})) {
    loader.error("--max-num-batched-tokens: " + std::to_string(settings.max_num_batched_tokens) +
                 " is too small; expected at least max-num-seqs + prefill-block = " + std::to_string(least));
  }
}

}  // namespace

std::variant<Loaded, ConfigErrors> load(const std::vector<std::string>& arguments,
                                        const std::map<std::string, std::string>& environment) {
  Loaded loaded;
  Loader loader(loaded);
  std::optional<std::string> file;
  if (const auto found = environment.find("BATCHMAX_CONFIG"); found != environment.end())
    file = found->second;
  const std::vector<Flag> flags = read_flags(arguments, loader, loaded, file);
  if (file) read_file(*file, loader);
  read_environment(environment, loader, loaded);
  for (const Flag& flag : flags) loader.set(*loader.find(flag.name), flag.value, "--" + flag.name, "flag");
  check_rules(loaded.settings, loader);
  if (!loader.errors().empty() && !loaded.help) return ConfigErrors{std::move(loader.errors())};
  return loaded;
}

std::map<std::string, std::string> process_environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

}  // namespace batchmax::config
