// Byte-pair encoding, the model of most tokenizer.json files. A word's symbols are merged pair by pair, the
// pair that was learnt first goes first, the leftmost of equals. A heap over a linked list keeps a word of n
// symbols at O(n log n) steps; a bounded cache of short words belongs to the caller's scratch. Tokenizers of
// the SentencePiece kind give a whole text as one word, with marks for spaces: where the merges allow it,
// which the published ones do, such a word is done in parts that begin at marks, with the same ids.
#pragma once

#include <array>
#include <optional>
#include <unordered_map>

#include "coordinator/text/model.h"
#include "coordinator/text/vocabulary.h"

namespace batchmax::coordinator {

class BpeModel final : public Model {
 public:
  explicit BpeModel(const JsonNode& node);

  std::unique_ptr<Scratch> make_scratch(size_t text_size) const override;
  void tokenize(std::string_view word, bool bytes, Scratch& scratch,
                std::vector<int32_t>& ids) const override;
  const std::vector<std::string>& tokens() const override { return vocabulary_.tokens(); }
  int32_t token_count() const override { return vocabulary_.count(); }
  int32_t find(std::string_view token) const override { return vocabulary_.find(token); }

 private:
  struct Merge {
    uint64_t pair;  // left id << 32 | right id; kNoPair in an empty slot
    uint32_t rank;
    int32_t merged;
  };
  class BpeScratch;

  void read_merges(const JsonNode& node);
  void add_merge(uint64_t pair, uint32_t rank, int32_t merged);
  const Merge* find_merge(int32_t left, int32_t right) const;
  void tokenize_part(std::string_view word, bool bytes, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void append_symbols(std::string_view characters, std::vector<int32_t>& symbols) const;
  void append_byte_symbols(std::string_view bytes, std::vector<int32_t>& symbols) const;
  void merge_all(BpeScratch& scratch, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::string prefix_;  // continuing_subword_prefix
  std::string suffix_;  // end_of_word_suffix
  int32_t unknown_ = -1;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool parts_at_mark_ = false;           // no merge reaches from another character across a U+2581 behind it
  std::array<int32_t, 256> fallback_{};  // id of "<0x41>", -1: none
  std::array<int32_t, 256> byte_symbol_{};  // id of the character that stands for a byte, -1: none
  bool bytes_need_characters_ = false;      // an option above looks at characters, so bytes are mapped first
  std::unordered_map<std::string, int32_t> whole_words_;  // by raw bytes, for ignore_merges
  std::vector<Merge> merges_;                             // open addressing, a power of two of slots
  uint32_t merge_shift_ = 0;                              // 64 - log2 of the number of slots
};

}  // namespace batchmax::coordinator
