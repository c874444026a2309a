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

// Whether b and every larger budget hold. What the protected leave of a budget grows with it, except where b
// / 4 steps up: there it falls by one or two, to a level that rises with every step. So the next step
// decides.
bool holds_from(const CompressionSettings& server, int32_t budget, bool own_budget, Mode mode) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  const int32_t step = budget > kMost - 3 ? kMost : (budget + 3) / 4 * 4;
  return holds(derive(server, budget, own_budget, mode)) && holds(derive(server, step, own_budget, mode));
}

// The least budget from which on every one holds; 0: none. 7 may hold where 8 does not: then 9 is the least,
// so that a client may always go up.
int32_t least_budget(const CompressionSettings& server, bool own_budget, Mode mode) {
  int64_t low = 1;
  int64_t high = int64_t{std::numeric_limits<int32_t>::max()} + 1;  // none
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (holds_from(server, static_cast<int32_t>(middle), own_budget, mode)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low > std::numeric_limits<int32_t>::max() ? 0 : static_cast<int32_t>(low);
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
  if (holds_from(server, asked, budget.has_value(), chosen))
    return derive(server, asked, budget.has_value(), chosen);

  if (server.recent && server.prompt_tail && *server.prompt_tail > *server.recent) {
    return BudgetTooSmall{0, "prompt_tail " + std::to_string(*server.prompt_tail) +
                                 " must be at most recent " + std::to_string(*server.recent) +
                                 ": no kv_budget works"};
  }
  if (server.recent && *server.recent < 1) return BudgetTooSmall{0, "recent must be at least 1"};
  const std::string too_small = "kv_budget " + std::to_string(asked) + " is too small";
  const int32_t least = least_budget(server, budget.has_value(), chosen);
  if (least == 0) return BudgetTooSmall{0, too_small + ", and with these settings no kv_budget works"};
  const Compression works = derive(server, least, budget.has_value(), chosen);
  std::string why = "sinks " + std::to_string(works.sinks) + " + recent " + std::to_string(works.recent) +
                    " + prompt_tail " + std::to_string(works.prompt_tail) + " must be less than the budget";
  if (!budget) {
    why += ", prefill_block " + std::to_string(server.block) + " at most half of it: here at most " +
           std::to_string(std::max(asked, 0) / 2);
  }
  return BudgetTooSmall{
      least, too_small + ": the least that works here is " + std::to_string(least) + " (" + why + ")"};
}

int32_t least_own_budget(const CompressionSettings& server, Mode mode) {
  return least_budget(server, true, mode);
}

}  // namespace batchmax::config
