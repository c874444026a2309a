#include "config/man_page.h"

namespace batchmax::config {
namespace {

// Text that the formatter takes as it stands: a hyphen would become a typographic one, a dot or quote at the
// head of a line a request.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
      out += c;
    }
  }
  return out;
}

std::string bold(const std::string& text) { return "\\fB" + escaped(text) + "\\fR"; }

// Lines of text broken at spaces, as the language's own checkers want it.
std::string wrapped(const std::string& source) {
  constexpr size_t kWidth = 78;
  std::string out;
  for (size_t at = 0; at < source.size();) {
    const size_t end = source.find('\n', at);
    std::string line = source.substr(at, end - at);
    at = end == std::string::npos ? source.size() : end + 1;
    while (line.size() > kWidth && line.front() != '.') {
      const size_t space = line.rfind(' ', kWidth);
      if (space == std::string::npos) break;
      out += line.substr(0, space) + "\n";
      line.erase(0, space + 1);
      if (line.front() == '.' || line.front() == '\'') line.insert(0, "\\&");
    }
    out += line + "\n";
  }
  return out;
}

std::string upper(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

// What stands for the value, named after its type: "--port INTEGER".
std::string value_of(const Option& option) {
  if (option.type.empty()) return {};
  if (option.type.find('|') != std::string::npos) return " " + escaped(option.type);
  return " \\fI" + upper(option.type) + "\\fR";
}

std::string option_entry(const Option& option) {
  std::string text = ".TP\n" + bold("--" + option.name);
  if (!option.alias.empty()) text += ", " + bold(option.alias);
  text += value_of(option) + "\n" + escaped(option.sentence) + "\n";
  std::string facts;
  if (!option.range.empty()) facts += "Range: " + option.range + ".\n";
  if (!option.default_value.empty()) facts += "Default: " + option.default_value + ".\n";
  if (!option.environment.empty()) facts += "Environment: " + option.environment + ".\n";
  return text + escaped(facts);
}

std::string command_section(const std::string& program, const Command& command) {
  std::string sentence = command.sentence;
  sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  std::string text = ".SS " + escaped(program + " " + command.name) + "\n" + escaped(sentence) + ".\n";
  std::string section;
  for (const Option& option : command.options) {
    if (option.section != section) {
      section = option.section;
      text += ".PP\n\\fI" + escaped(section) + "\\fR\n";
    }
    text += option_entry(option);
  }
  return text;
}

}  // namespace

std::string man_page(const std::string& program, const std::string& version, const std::string& date,
                     const std::vector<Command>& commands) {
  std::string text = ".\\\" Printed by: " + program + " man\n.TH " + upper(program) + " 1 " + date + " \"" +
                     program + " " + version + "\" \"User Commands\"\n.SH NAME\n" + program +
                     " \\- serve large language models with a compressed KV cache\n.nh\n.SH SYNOPSIS\n.nf\n";
  for (const Command& command : commands)
    text += bold(program + " " + command.name) + " " + escaped(command.usage) + "\n";
  text +=
      ".fi\n.SH DESCRIPTION\n"
      "A server with OpenAI's HTTP API for prompts that are long where GPU memory is short: the KV cache of "
      "a "
      "sequence is compressed while its prompt is read as well as while its answer is written, so that it "
      "never outgrows its budget.\n.SH COMMANDS\n";
  for (const Command& command : commands) text += command_section(program, command);
  text +=
      ".SH EXIT STATUS\n"
      ".TP\n0\nDone; of a server: ended by SIGTERM or SIGINT.\n"
      ".TP\n1\nIt failed; standard error says why and what to do.\n"
      ".TP\n2\nArguments or settings that cannot work.\n"
      ".TP\n130\nCtrl\\-C ended the answer to a single question.\n"
      ".SH ENVIRONMENT\n"
      "Settings of a server stand beside its flags above: the environment wins over a YAML file, flags over "
      "both.\n"
      ".TP\n\\fBBATCHMAX_API_KEY\\fR, \\fBOPENAI_API_KEY\\fR\n"
      "Key that a client sends, the first that is set; of a list its first.\n"
      ".SH EXAMPLES\n.nf\n" +
      escaped(program + " serve /models/my-llama -tp 2 --kv-budget 1024\n" + program +
              " chat --file report.txt \"What did they decide?\"\n" + program +
              " completion bash > batchmax.bash\n") +
      ".fi\n";
  return wrapped(text);
}

}  // namespace batchmax::config
