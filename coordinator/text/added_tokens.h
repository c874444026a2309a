// The added_tokens of a tokenizer.json: tokens that are found in the text before the model sees it, among
// them the special tokens. Immutable after construction; any thread may split.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "coordinator/text/json_file.h"
#include "coordinator/text/model.h"
#include "coordinator/text/normalizer.h"

namespace batchmax::coordinator {

class AddedTokens {
 public:
  // Ids are given as the Python package gives them: that of the model's vocabulary where the token is in it,
  // else the next free one; the id in the file is not consulted.
  AddedTokens(const JsonNode& node, const Model& model, const Normalizer& normalizer);

  // Cuts text at the tokens of one kind. Calls part(text, id) in order; id -1: text between tokens, never
  // empty. normalized: the tokens that are looked for in normalized text; else those looked for in the text
  // as it came.
  using Part = std::function<void(std::string_view text, int32_t id)>;
  void split(std::string_view text, bool normalized, const Part& part) const;

  // Null where the id is no added token.
  const std::string* content(int32_t id) const;
  // The same as the decoder is to see it: normalized, where the token is looked for in normalized text.
  const std::string* spelling(int32_t id) const;
  bool is_special(std::string_view token) const { return special_.contains(std::string(token)); }
  int32_t find(std::string_view token) const;         // -1: none
  int32_t largest_id() const { return largest_id_; }  // -1: none

 private:
  struct Token {
    std::string content, spelling;
    bool single_word, lstrip, rstrip;
  };
  // A trie of bytes over all tokens of one kind.
  struct Trie {
    struct Node {
      int32_t id = -1;
    };
    std::vector<Node> nodes{1};
    std::unordered_map<uint64_t, uint32_t> children;  // node << 8 | byte
    std::array<bool, 256> first_byte{};
    void insert(std::string_view text, int32_t id);
    // Bytes and id of the longest token at the head of text; 0 for none.
    size_t longest(std::string_view text, int32_t& id) const;
  };

  std::unordered_map<int32_t, Token> by_id_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<std::string> special_;
  Trie raw_, normalized_;
  int32_t largest_id_ = -1;
};

}  // namespace batchmax::coordinator
