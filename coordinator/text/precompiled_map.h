// SentencePiece's table of replacements, as the normalizer Precompiled of a tokenizer.json carries it: a
// double-array trie of characters and short clusters, and the texts that stand for them. Untrusted: every
// step is checked. Immutable after construction; any thread may normalize.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class PrecompiledMap {
 public:
  // From the value of the key precompiled_charsmap: base64, or null for a map that changes nothing. Throws
  // std::runtime_error naming file and key.
  explicit PrecompiledMap(const JsonNode& node);

  std::string normalize(std::string_view valid_text) const;

 private:
  // What stands for the shortest beginning of `text` that is in the table.
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string texts_;  // each ends with a zero byte
};

}  // namespace batchmax::coordinator
