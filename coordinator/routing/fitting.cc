#include "coordinator/routing/fitting.h"

#include <variant>
#include <vector>

#include "config/kv_reservation.h"

namespace batchmax::coordinator {
namespace {

using config::Compression;
using config::Mode;

struct Way {
  std::optional<int32_t> budget;
  Mode mode;
};

bool fits(const config::CompressionSettings& server, const Way& way, int32_t prompt_tokens,
          int32_t max_tokens, int32_t capacity_pages) {
  const auto resolved = config::resolve(server, way.budget, way.mode);
  const auto* compression = std::get_if<Compression>(&resolved);
  return compression != nullptr &&
         config::reservation(*compression, prompt_tokens, max_tokens).pages <= capacity_pages;
}

std::string describe(const Way& way, Mode asked) {
  std::string text;
  if (way.budget) text = "kv_budget " + std::to_string(*way.budget) + " or less";
  if (way.mode != asked) {
    text = std::string("compression ") + config::name_of(way.mode) + (text.empty() ? "" : " with " + text);
  }
  return text;
}

// Of a way in which not everything does.
std::string what_fits(const Compression& compression, int32_t capacity_pages) {
  const config::Longest longest = config::longest_sequence(compression, capacity_pages);
  if (longest.whole > longest.prompt)  // mode decode: only the prompt is held whole
    return "Prompts of at most " + std::to_string(longest.prompt) + " tokens fit this way.";
  return "At most " + std::to_string(longest.whole) + " tokens, prompt and output, fit this way.";
}

}  // namespace

std::optional<std::string> reason_it_never_fits(const config::CompressionSettings& server,
                                                const Compression& compression, int32_t prompt_tokens,
                                                int32_t max_tokens, int32_t capacity_pages) {
  const int32_t pages = config::reservation(compression, prompt_tokens, max_tokens).pages;
  if (pages <= capacity_pages) return std::nullopt;

  std::string text =
      "This request needs " + std::to_string(pages) + " KV pages of " + std::to_string(config::kPageSlots) +
      " slots (" + std::to_string(prompt_tokens) + " prompt tokens, max_tokens " +
      std::to_string(max_tokens) + ", compression " + config::name_of(compression.mode) +
      (compression.mode == Mode::off ? "" : ", kv_budget " + std::to_string(compression.budget)) +
      "); a group has " + std::to_string(capacity_pages) + ". " + what_fits(compression, capacity_pages);

  // The largest budget that the memory holds; then the mode that holds least.
  const int32_t most = capacity_pages * config::kPageSlots;
  std::vector<Way> ways;
  if (compression.mode != Mode::off) ways.push_back({most, compression.mode});
  if (compression.mode != Mode::full) {
    ways.push_back({std::nullopt, Mode::full});
    ways.push_back({most, Mode::full});
  }
  for (const Way& way : ways) {
    if (fits(server, way, prompt_tokens, max_tokens, capacity_pages)) {
      return text + " It would fit with " + describe(way, compression.mode) + ".";
    }
  }
  return text + " Give the server more KV memory, or shorten the request.";
}

}  // namespace batchmax::coordinator
