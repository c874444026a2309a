#include "worker/kv/kv_capacity.h"

#include <algorithm>

#include "config/kv_reservation.h"
#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

// Pages of the largest sequence that these settings admit.
int32_t pages_of_largest(config::Compression compression, int32_t max_model_len, config::Mode mode) {
  compression.mode = mode;
  return config::reservation(compression, std::max(1, max_model_len - 1), 1).pages;
}

std::string grouped(int64_t number) {  // 147,072
  std::string text = std::to_string(number);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

}  // namespace

int32_t table_pages(const KvDemand& demand) {
  return pages_of_largest(demand.compression, demand.max_model_len, config::Mode::off);
}

std::variant<int32_t, KvMemoryTooSmall> kv_capacity(uint64_t bytes, size_t bytes_per_page,
                                                    const KvDemand& demand) {
  CHECK_GE(demand.max_model_len, 1);
  CHECK_GE(demand.max_sequences, 1);
  const uint64_t usable =
      uint64_t{static_cast<uint32_t>(demand.max_sequences)} * static_cast<uint32_t>(table_pages(demand));
  const auto pages = static_cast<int32_t>(std::min({bytes / bytes_per_page, usable, uint64_t{INT32_MAX}}));
  const bool full = demand.compression.mode == config::Mode::full;
  const int32_t least =
      full ? pages_of_largest(demand.compression, demand.max_model_len, config::Mode::full) : 1;
  if (pages >= least) return pages;
  std::string message = "KV memory too small for one sequence: " + grouped(static_cast<int64_t>(bytes)) +
                        " bytes per rank hold " + std::to_string(pages) + " pages of " +
                        std::to_string(config::kPageSlots) + " tokens";
  message += full ? ", one sequence at budget " + std::to_string(demand.compression.budget) + " needs " +
                        std::to_string(least)
                  : std::string(", one is needed");
  message += ". Set --kv-cache-memory-bytes to " +
             std::to_string(static_cast<uint64_t>(least) * bytes_per_page) + " or more";
  message += full ? ", or lower --kv-budget" : "";
  return KvMemoryTooSmall{message};
}

std::string describe_capacity(int32_t pages, const KvDemand& demand) {
  const int32_t len = demand.max_model_len;
  const int32_t whole = pages / pages_of_largest(demand.compression, len, config::Mode::off);
  const int32_t at_budget = pages / pages_of_largest(demand.compression, len, config::Mode::full);
  const std::string tokens = grouped(int64_t{pages} * config::kPageSlots);
  const std::string budget = std::to_string(demand.compression.budget);
  const auto of = [](int32_t count) { return grouped(count) + (count == 1 ? " sequence" : " sequences"); };
  std::string longest;
  if (whole == 0) longest = "; the longest without compression has " + tokens + " tokens";
  const std::string uncompressed = std::to_string(len) + " tokens";
  if (demand.compression.mode == config::Mode::full) {
    return "KV " + tokens + " tokens; " + of(at_budget) + " of any prompt length at budget " + budget + " (" +
           grouped(whole) + " of " + uncompressed + " without compression" + longest + ")";
  }
  return "KV " + tokens + " tokens; " + of(whole) + " of " + uncompressed + longest + " (" +
         grouped(at_budget) + " of any prompt length with --compression full at budget " + budget + ")";
}

}  // namespace batchmax::worker
