// What the user says to `batchmax chat`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/command.h"
#include "coordinator/client/flags.h"
#include "coordinator/client/server_address.h"

namespace batchmax::coordinator {

// What is empty is not sent: the server's own default holds.
struct ChatFlags {
  ServerFlags server;
  std::string system;
  std::string file;  // "-": standard input
  std::optional<int64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<int64_t> kv_budget;
  std::string compression;
};

std::vector<Flag> flags_of(ChatFlags& chat);

config::Command chat_description();

}  // namespace batchmax::coordinator
