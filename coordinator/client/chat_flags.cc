#include "coordinator/client/chat_flags.h"

#include <limits>

namespace batchmax::coordinator {

std::vector<Flag> flags_of(ChatFlags& chat) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  std::vector<Flag> flags;
  add_server_flags(flags, chat.server);
  std::vector<Flag> own;
  own.push_back(text_flag("system", "text", "What the model is told before the conversation.", chat.system));
  own.push_back(
      text_flag("file", "file",
                "A text that goes before the first question, - for standard input: a long document to "
                "ask about.",
                chat.file));
  own.push_back(
      integer_flag("max-tokens", 1, kMost, "Most tokens of an answer; empty: what fits.", chat.max_tokens));
  own.push_back(
      number_flag("temperature", 0, 2, "0 takes the likeliest token each time; empty: 1.", chat.temperature));
  own.push_back(integer_flag(
      "kv-budget", 1, kMost,
      "Slots per layer and KV head that the conversation may keep; empty: the server's.", chat.kv_budget));
  own.push_back(choice_flag("compression", {"off", "decode", "full"},
                            "When the server evicts from the KV cache; empty: as it is set there.",
                            chat.compression));
  add_section(flags, "Conversation", std::move(own));
  return flags;
}

config::Command chat_description() {
  ChatFlags defaults;
  return describe("chat", "[QUESTION] [flags]", "talk to a running server, or ask it one question",
                  flags_of(defaults));
}

}  // namespace batchmax::coordinator
