// Tokens and ids, both ways. Immutable once built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class Vocabulary {
 public:
  // More than any published tokenizer by a factor of sixty, few enough that a hostile id cannot exhaust the
  // memory.
  static constexpr int64_t kLargestId = (1 << 24) - 1;

  // From an object {token: id}. Throws std::runtime_error naming the token whose id is out of range or taken
  // twice.
  static Vocabulary from_object(const JsonNode& node);
  // From a list of tokens, the index is the id. A token listed twice keeps its last id, as in the Python
  // package.
  static Vocabulary from_list(std::vector<std::string> tokens);

  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  int32_t find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  const std::vector<std::string>& tokens() const { return tokens_; }
  int32_t count() const { return static_cast<int32_t>(ids_.size()); }

 private:
  Vocabulary() = default;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // keys refer to tokens_, whose buffer moves with it
};

}  // namespace batchmax::coordinator
