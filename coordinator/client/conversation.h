// A conversation as the API has it: requests out, pieces of the answer in. Values; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/client/chat_flags.h"

namespace batchmax::coordinator {

class Conversation {
 public:
  // document: text that goes before the first question; may be empty.
  Conversation(ChatFlags flags, std::string model, std::string document);

  // The body of the request that asks this next: "stream": true, with usage.
  std::string request(std::string_view question) const;
  // Question and answer become part of what later requests send.
  void add(std::string_view question, std::string answer);
  // Begins anew: system and document stay.
  void reset() { turns_.clear(); }

 private:
  struct Turn {
    std::string question;
    std::string answer;
  };
  std::string user_text(size_t turn, std::string_view question) const;

  ChatFlags flags_;
  std::string model_;
  std::string document_;
  std::vector<Turn> turns_;
};

// One event of a streamed answer. A server that is not ours leaves the last two out.
struct AnswerPiece {
  bool has_choice = false;  // it is no news of usage alone
  std::string text;
  std::string finish_reason;  // empty: goes on
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> completion_tokens;
  std::optional<int64_t> kv_bytes_peak;
  std::optional<int64_t> tokens_evicted;
};
// Of a chat or a completion. Throws ClientError where the event is no JSON.
AnswerPiece parse_piece(std::string_view event);

}  // namespace batchmax::coordinator
