#include "config/completion.h"

namespace batchmax::config {
namespace {

// "a | b | c" → "a b c"; empty where the type is no list of choices.
std::string choices_of(const std::string& type) {
  if (type.find(" | ") == std::string::npos) return {};
  std::string words;
  for (const char c : type) {
    if (c != '|' && !(c == ' ' && words.ends_with(' '))) words += c;
  }
  return words;
}

std::string flags_of(const Option& option, const char* separator) {
  return "--" + option.name + (option.alias.empty() ? "" : separator + option.alias);
}

// In single quotes, for a shell of which `quote` is what stands for a quote inside them.
std::string quoted(const std::string& text, const char* quote) {
  std::string out = "'";
  for (const char c : text) c == '\'' ? out += quote : out += c;
  return out + "'";
}

// What bash offers for a value or argument of this type; empty: nothing.
std::string bash_offer(const std::string& type) {
  const std::string choices = choices_of(type);
  if (!choices.empty()) return "compgen -W '" + choices + "' -- \"$word\"";
  if (type == "file") return "compgen -f -- \"$word\"";
  if (type == "folder") return "compgen -d -- \"$word\"";
  return {};
}

std::string bash_command(const Command& command) {
  std::string names;
  std::string cases;
  for (const Option& option : command.options) {
    names += (names.empty() ? "" : " ") + flags_of(option, " ");
    if (option.type.empty()) continue;
    const std::string offer = bash_offer(option.type);
    cases += "        " + flags_of(option, "|") + ") " +
             (offer.empty() ? "" : "_batchmax_offer " + offer + "; ") + "return ;;\n";
  }
  const std::string offer = bash_offer(command.argument);
  return "    " + command.name + ")\n" +
         (cases.empty() ? "" : "      case $previous in\n" + cases + "      esac\n") +
         "      case $word in\n        -*) _batchmax_offer compgen -W '" + names + "' -- \"$word\" ;;\n" +
         (offer.empty() ? "" : "        *) _batchmax_offer " + offer + " ;;\n") + "      esac ;;\n";
}

std::string bash(const std::string& program, const std::vector<Command>& commands) {
  std::string names;
  std::string cases;
  for (const Command& command : commands) {
    names += (names.empty() ? "" : " ") + command.name;
    cases += bash_command(command);
  }
  return "# bash completion of " + program + ": printed by " + program +
         " completion bash\n"
         "_batchmax_offer() {\n"
         "  local line\n"
         "  [ \"$2\" = -W ] || compopt -o filenames 2>/dev/null\n"
         "  while IFS= read -r line; do COMPREPLY+=(\"$line\"); done < <(\"$@\")\n"
         "}\n"
         "_batchmax() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "  COMPREPLY=()\n"
         "  # bash takes --flag=value for three words.\n"
         "  if [ \"$word\" = = ]; then\n"
         "    word=\n"
         "  elif [ \"$previous\" = = ]; then\n"
         "    previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
         "  fi\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    _batchmax_offer compgen -W '" +
         names +
         "' -- \"$word\"\n"
         "    return\n"
         "  fi\n"
         "  case ${COMP_WORDS[1]} in\n" +
         cases + "  esac\n}\ncomplete -F _batchmax " + program + "\n";
}

// Colons and brackets mean something to _arguments.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ':' || c == '[' || c == ']' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const std::string& type) {
  const std::string choices = choices_of(type);
  if (!choices.empty()) return "(" + choices + ")";
  if (type == "file") return "_files";
  if (type == "folder") return "_files -/";
  return " ";
}

std::string zsh(const std::string& program, const std::vector<Command>& commands) {
  std::string names;
  std::string cases;
  for (const Command& command : commands) {
    names += "    " + quoted(command.name + ":" + zsh_text(command.sentence), "'\\''") + "\n";
    std::string words;
    for (const Option& option : command.options) {
      std::vector<std::string> spellings = {"--" + option.name};
      if (!option.alias.empty()) spellings.push_back(option.alias);
      for (const std::string& spelling : spellings) {
        std::string word = spelling + "[" + zsh_text(option.sentence) + "]";
        if (!option.type.empty()) word += ":" + option.name + ":" + zsh_action(option.type);
        words += " \\\n      " + quoted(word, "'\\''");
      }
    }
    if (!command.argument.empty()) words += " \\\n      '*:argument:" + zsh_action(command.argument) + "'";
    if (!words.empty()) cases += "    " + command.name + ") _arguments -S" + words + " ;;\n";
  }
  return "#compdef " + program + "\n# zsh completion of " + program + ": printed by " + program +
         " completion zsh\n"
         "_batchmax() {\n"
         "  local -a commands=(\n" +
         names +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "# Loaded from $fpath it is called; read with source it is registered.\n"
         "if [ \"$funcstack[1]\" = _batchmax ]; then\n"
         "  _batchmax \"$@\"\n"
         "else\n"
         "  compdef _batchmax " +
         program + "\nfi\n";
}

std::string fish(const std::string& program, const std::vector<Command>& commands) {
  std::string text = "# fish completion of " + program + ": printed by " + program + " completion fish\n" +
                     "complete -c " + program + " -f\n";
  for (const Command& command : commands) {
    text += "complete -c " + program + " -n __fish_use_subcommand -a " + command.name + " -d " +
            quoted(command.sentence, "\\'") + "\n";
    const std::string line =
        "complete -c " + program + " -n '__fish_seen_subcommand_from " + command.name + "' ";
    for (const Option& option : command.options) {
      text += line + "-l " + option.name;
      // An alias of one letter is a short option to fish, a longer one an old-style option.
      if (!option.alias.empty())
        text += (option.alias.size() == 2 ? " -s " : " -o ") + option.alias.substr(1);
      const std::string choices = choices_of(option.type);
      if (!choices.empty()) {
        text += " -xa '" + choices + "'";
      } else if (option.type == "file" || option.type == "folder") {
        text += " -rF";
      } else if (!option.type.empty()) {
        text += " -x";
      }
      text += " -d " + quoted(option.sentence, "\\'") + "\n";
    }
    const std::string choices = choices_of(command.argument);
    if (!choices.empty()) text += line + "-a '" + choices + "'\n";
    if (command.argument == "file" || command.argument == "folder") text += line + "-F\n";
  }
  return text;
}

}  // namespace

std::optional<std::string> completion(std::string_view shell, const std::string& program,
                                      const std::vector<Command>& commands) {
  if (shell == "bash") return bash(program, commands);
  if (shell == "zsh") return zsh(program, commands);
  if (shell == "fish") return fish(program, commands);
  return std::nullopt;
}

}  // namespace batchmax::config
