// The pre_tokenizer of a tokenizer.json: cuts normalized text into the words that the model sees one at a
// time. Immutable after construction; any thread may split.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class PreTokenizer {
 public:
  // From the value of the key pre_tokenizer (null: the text stays whole). Throws std::runtime_error naming
  // the key of an unknown type.
  explicit PreTokenizer(const JsonNode& node);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // True: the last stage maps bytes to the byte-level alphabet. That mapping is left to the caller: words
  // come out as raw bytes, and a byte-level model looks them up as such.
  bool byte_level() const { return byte_level_; }

  // Calls word(text) for every word, in order, none empty; the view is good for the call only.
  // at_start: this text stands at the very beginning of the input (Metaspace's prepend_scheme first).
  using Word = std::function<void(std::string_view)>;
  void split(std::string_view text, bool at_start, const Word& word) const;

  class Stage;

 private:
  void run(size_t stage, std::string_view text, bool at_start, const Word& word) const;

  std::vector<std::unique_ptr<Stage>> stages_;
  bool byte_level_ = false;
};

}  // namespace batchmax::coordinator
