// One answer: asked for, streamed to the terminal, ended by Ctrl-C.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/client/server_address.h"

namespace batchmax::coordinator {

struct Turn {
  std::string answer;  // as far as it came
  std::string finish_reason;
  bool interrupted = false;  // by Ctrl-C: the connection was closed
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> completion_tokens;
  std::optional<int64_t> kv_bytes_peak;
  std::optional<int64_t> tokens_evicted;
  double first_token = 0;  // seconds from asking
  double whole = 0;
};

// Blocks until the answer is complete, or Ctrl-C. Meanwhile SIGINT is caught; before and after it does what
// it did. `show` gets each piece of text. Throws ClientError.
Turn run_turn(const ServerAddress& server, const std::string& request,
              const std::function<void(std::string_view)>& show);

// "1491 + 10 tokens; first after 1.93 s, then 38.8 tokens/s; KV cache 8.2 MiB at most, 476 tokens evicted".
std::string figures(const Turn& turn);

}  // namespace batchmax::coordinator
