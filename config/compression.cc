#include "config/compression.h"

#include <algorithm>
#include <limits>

namespace batchmax::config {
namespace {

// The settings of mode decode or full at budget b, without any check. 64-bit inside: sums of settings near
// the largest int32_t must not wrap.
Compression derive(const CompressionSettings& server, int32_t budget, bool own_budget, Mode mode) {
  Compression made;
  made.mode = mode;
  made.budget = budget;
  // A request's own budget brings its own block, so that a small budget does not need a server of small
  // blocks.
  made.block = own_budget ? std::min(server.block, std::max(1, budget / 2 / 16 * 16)) : server.block;
  made.sinks = server.sinks;
  made.recent = server.recent.value_or(budget / 4);
  made.prompt_tail = server.prompt_tail.value_or(std::min(32, made.recent));
  made.decode_block = server.decode_block;
  return made;
}

bool holds(const Compression& compression) {
  const int64_t guarded = int64_t{compression.sinks} + compression.recent + compression.prompt_tail;
  return compression.budget >= 1 && compression.recent >= 1 &&
         compression.prompt_tail <= compression.recent && guarded < compression.budget &&
         compression.block >= 1 && compression.block <= compression.budget / 2;
}

}  // namespace

const char* name_of(Mode mode) {
  switch (mode) {
    case Mode::off:
      return "off";
    case Mode::decode:
      return "decode";
    case Mode::full:
      return "full";
  }
  return "?";
}

std::optional<Mode> mode_from_name(std::string_view name) {
  for (const Mode mode : {Mode::off, Mode::decode, Mode::full}) {
    if (name == name_of(mode)) return mode;
  }
  return std::nullopt;
}

const char* name_of(Scope scope) { return scope == Scope::head ? "head" : "layer"; }

std::optional<Scope> scope_from_name(std::string_view name) {
  for (const Scope scope : {Scope::head, Scope::layer}) {
    if (name == name_of(scope)) return scope;
  }
  return std::nullopt;
}

std::variant<Compression, BudgetTooSmall> resolve(const CompressionSettings& server,
                                                  std::optional<int32_t> budget, std::optional<Mode> mode) {
  const Mode chosen = mode.value_or(server.mode);
  const int32_t asked = budget.value_or(server.budget);
  if (chosen == Mode::off) {
    Compression made = derive(server, server.budget, false, chosen);
    made.budget = asked;
    return made;
  }
  const Compression made = derive(server, asked, budget.has_value(), chosen);
  if (holds(made)) return made;

  const std::string name = "kv_budget " + std::to_string(asked);
  if (server.recent && server.prompt_tail && *server.prompt_tail > *server.recent) {
    return BudgetTooSmall{0, "prompt_tail " + std::to_string(*server.prompt_tail) +
                                 " must be at most recent " + std::to_string(*server.recent) +
                                 ": no kv_budget works"};
  }
  if (server.recent && *server.recent < 1) return BudgetTooSmall{0, "recent must be at least 1"};
  // Beyond this sum every budget holds: recent and prompt_tail, where derived, take at most half of it.
  const int64_t fixed = int64_t{server.sinks} + server.recent.value_or(0) + server.prompt_tail.value_or(0);
  const int64_t ceiling = 4 * (fixed + server.block) + 64;
  const int64_t last = std::min<int64_t>(ceiling, std::numeric_limits<int32_t>::max());
  for (int64_t candidate = std::max<int64_t>(asked, fixed + 1); candidate <= last; ++candidate) {
    const auto least = static_cast<int32_t>(candidate);
    const Compression works = derive(server, least, budget.has_value(), chosen);
    if (!holds(works)) continue;
    std::string why = "sinks " + std::to_string(works.sinks) + " + recent " + std::to_string(works.recent) +
                      " + prompt_tail " + std::to_string(works.prompt_tail) + " must be less than the budget";
    if (!budget) {
      why += ", prefill_block " + std::to_string(server.block) + " at most half of it: here at most " +
             std::to_string(std::max(asked, 0) / 2);
    }
    return BudgetTooSmall{least, name + " is too small: the least that works here is " +
                                     std::to_string(least) + " (" + why + ")"};
  }
  return BudgetTooSmall{
      0, name + " is too small, and with these sinks, recent and prompt_tail no kv_budget works"};
}

}  // namespace batchmax::config
