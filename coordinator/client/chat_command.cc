#include "coordinator/client/chat_command.h"

#include <fmt/core.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "coordinator/client/api_client.h"
#include "coordinator/client/chat_flags.h"
#include "coordinator/client/chat_turn.h"
#include "coordinator/client/conversation.h"
#include "coordinator/client/terminal_text.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

constexpr int kBadUsage = 2;
constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells have it
constexpr const char* kHelp =
    "/reset   forget the conversation; the document of --file stays\n"
    "/usage   tokens so far\n"
    "/quit    end, as Ctrl-D does; Ctrl-C ends an answer that is being written\n";

int complain(std::string_view message, int status) {
  fmt::print(stderr, "batchmax chat: {}\n", message);
  return status;
}

std::string read_all(std::istream& in, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw ClientError(name + " cannot be read");
  if (!is_valid_utf8(text)) throw ClientError(name + " is no UTF-8 text: convert it, with iconv for example");
  return text;
}

std::string document_of(const ChatFlags& flags) {
  if (flags.file.empty()) return {};
  if (flags.file == "-") return read_all(std::cin, "standard input");
  std::ifstream stream(flags.file, std::ios::binary);
  // A folder can be opened, but not read.
  if (!stream || stream.peek() == std::ifstream::traits_type::eof())
    throw ClientError(fmt::format("--file: '{}' cannot be read, or is empty", flags.file));
  return read_all(stream, "--file: '" + flags.file + "'");
}

class Chat {
 public:
  Chat(ServerAddress server, Conversation conversation)
      : server_(std::move(server)),
        conversation_(std::move(conversation)),
        terminal_(isatty(STDOUT_FILENO) != 0),
        tells_(terminal_ && isatty(STDERR_FILENO) != 0) {}

  int ask_once(const std::string& question) {
    const Turn turn = ask(question);
    return turn.interrupted ? kInterrupted : 0;
  }

  int converse() {
    for (std::string line;;) {
      fmt::print(stderr, "> ");
      if (!std::getline(std::cin, line)) break;
      const size_t begin = line.find_first_not_of(" \t");
      if (begin == std::string::npos) continue;
      line.erase(0, begin);
      line.erase(line.find_last_not_of(" \t") + 1);
      if (line == "/quit" || line == "/exit") return 0;
      if (line.starts_with('/')) {
        command(line);
        continue;
      }
      try {
        ask(line);
      } catch (const std::exception& error) {
        complain(one_line(error.what()), 1);
      }
    }
    fmt::print(stderr, "\n");
    return 0;
  }

 private:
  Turn ask(const std::string& question) {
    if (!is_valid_utf8(question)) throw ClientError("the question is no UTF-8 text");
    bool at_line_start = true;
    const auto show = [&](std::string_view text) {
      const std::string shown = terminal_ ? printable(text) : std::string(text);
      at_line_start = shown.ends_with('\n');
      if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0)
        throw ClientError("standard output takes no more: is the disk full?");
    };
    const auto end_line = [&] {
      if (!at_line_start) show("\n");
    };
    Turn turn;
    try {
      turn = run_turn(server_, conversation_.request(question), show);
    } catch (...) {
      end_line();
      throw;
    }
    end_line();
    if (tells_) fmt::print(stderr, "({})\n", figures(turn));
    // What was said before an interruption was said.
    if (!turn.answer.empty()) conversation_.add(question, turn.answer);
    answers_ += 1;
    prompt_tokens_ += turn.prompt_tokens.value_or(0);
    completion_tokens_ += turn.completion_tokens.value_or(0);
    return turn;
  }

  void command(const std::string& line) {
    if (line == "/reset") {
      conversation_.reset();
    } else if (line == "/usage") {
      fmt::print(stderr, "answers: {}, tokens read: {}, written: {}\n", answers_, prompt_tokens_,
                 completion_tokens_);
    } else {
      fmt::print(stderr, "{}", kHelp);
    }
  }

  ServerAddress server_;
  Conversation conversation_;
  bool terminal_;  // answers are seen by a person
  bool tells_;     // figures, too
  int64_t answers_ = 0;
  int64_t prompt_tokens_ = 0;
  int64_t completion_tokens_ = 0;
};

int run(const ChatFlags& flags, const std::vector<std::string>& positionals,
        const std::map<std::string, std::string>& environment) {
  const ServerAddress server = resolve(flags.server, environment);
  const std::string document = document_of(flags);
  std::string question;
  for (const std::string& word : positionals) question += (question.empty() ? "" : " ") + word;
  const bool interactive = positionals.empty() && flags.file != "-" && isatty(STDIN_FILENO) != 0;
  if (!interactive && positionals.empty() && flags.file != "-") {
    question = read_all(std::cin, "standard input");
    while (question.ends_with('\n') || question.ends_with('\r')) question.pop_back();
  }
  if (!interactive && question.empty() && document.empty())
    return complain("nothing is asked: batchmax chat \"QUESTION\", or a question on standard input",
                    kBadUsage);
  const std::string model = find_model(server, flags.server.model);
  Chat chat(server, Conversation(flags, model, document));
  if (!interactive) return chat.ask_once(question);
  fmt::print(stderr, "{} at {}; /help lists commands\n", one_line(model), server.url);
  return chat.converse();
}

}  // namespace

int chat_command(const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment) {
  ChatFlags flags;
  const Arguments read = read_arguments(arguments, flags_of(flags));
  if (const auto status = end_early(read, chat_description())) return *status;
  try {
    return run(flags, read.positionals, environment);
  } catch (const UsageError& error) {
    return complain(one_line(error.what()), kBadUsage);
  } catch (const std::exception& error) {
    return complain(one_line(error.what()), 1);
  }
}

}  // namespace batchmax::coordinator
