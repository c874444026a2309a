// How a request's KV cache is kept: the settings of the method, and the rule that derives and checks them.
// Both sides use it: the coordinator to resolve a request, the worker to check what it was sent. Pure, any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace batchmax::config {

enum class Mode : uint8_t { off, decode, full };
enum class Scope : uint8_t { head, layer };
const char* name_of(Mode mode);
std::optional<Mode> mode_from_name(std::string_view name);
const char* name_of(Scope scope);
std::optional<Scope> scope_from_name(std::string_view name);

// Resolved settings of one sequence. Slots and positions are counted per KV head.
struct Compression {
  Mode mode = Mode::full;
  int32_t budget = 1024;  // b; not used when off
  int32_t block = 256;    // C
  int32_t sinks = 4;
  int32_t recent = 256;
  int32_t prompt_tail = 32;
  int32_t decode_block = 16;
  bool operator==(const Compression&) const = default;
};

// The server's settings; what is empty is derived from the budget.
struct CompressionSettings {
  Mode mode = Mode::full;
  int32_t budget = 1024;
  int32_t block = 256;
  int32_t sinks = 4;
  std::optional<int32_t> recent;       // default b / 4
  std::optional<int32_t> prompt_tail;  // default min(32, recent)
  int32_t decode_block = 16;
};

struct BudgetTooSmall {
  int32_t least;        // the least budget from which on every one works with these settings; 0: none
  std::string message;  // "kv_budget 40 is too small: the least that works here is 48 (...)"
};

// The settings of a request with its own budget and mode (either may be empty: the server's), resolved:
// recent = b/4, prompt_tail = min(32, recent) where not set; for a request's own b the block is
// min(C, largest multiple of 16 <= b/2, at least 1).
// Bounds: recent >= 1, prompt_tail <= recent, sinks + recent + prompt_tail < b, 1 <= block <= b / 2. Mode off
// has no bounds: its budget means nothing and its block is the server's. A budget is taken when it and every
// larger one keep the bounds: b/4 is rounded down, so that with sinks 4 and nothing else set 7 alone would
// keep them and 8 would not.
std::variant<Compression, BudgetTooSmall> resolve(const CompressionSettings& server,
                                                  std::optional<int32_t> budget, std::optional<Mode> mode);

// The least that a request may bring itself in mode decode or full; 0: none.
int32_t least_own_budget(const CompressionSettings& server, Mode mode);

}  // namespace batchmax::config
