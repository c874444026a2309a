// Unigram (SentencePiece): the segmentation of a word with the greatest sum of token scores, by dynamic
// programming over a trie. Steps per byte are bounded by the length of the longest token.
#pragma once

#include <array>
#include <unordered_map>

#include "coordinator/text/model.h"
#include "coordinator/text/vocabulary.h"

namespace batchmax::coordinator {

class UnigramModel final : public Model {
 public:
  explicit UnigramModel(const JsonNode& node);

  std::unique_ptr<Scratch> make_scratch(size_t text_size) const override;
  void tokenize(std::string_view word, bool bytes, Scratch& scratch,
                std::vector<int32_t>& ids) const override;
  const std::vector<std::string>& tokens() const override { return vocabulary_.tokens(); }
  int32_t token_count() const override { return static_cast<int32_t>(vocabulary_.tokens().size()); }
  int32_t find(std::string_view token) const override { return vocabulary_.find(token); }

 private:
  class UnigramScratch;
  struct Node {
    int32_t token = -1;
  };

  void insert(std::string_view token, int32_t id);
  void append_token(std::string_view piece, std::vector<int32_t>& ids) const;

  std::vector<double> scores_;  // by id; filled while the vocabulary is read, so it stands first
  Vocabulary vocabulary_;
  double unknown_score_ = 0;
  int32_t unknown_ = -1;
  bool byte_fallback_ = false;
  std::array<int32_t, 256> fallback_{};
  std::vector<Node> nodes_;                          // of the trie; 0 is the root
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte -> node
};

}  // namespace batchmax::coordinator
