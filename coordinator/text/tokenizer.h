// Text to token ids and back, from a model folder's tokenizer.json. Ids equal those of the Python package
// `tokenizers`. Immutable after load: any number of threads may encode and decode at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

class Tokenizer {
 public:
  // Throws std::runtime_error naming file, key, expected and found.
  static Tokenizer load(const std::string& model_folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // add_special_tokens: apply the post-processor (for example a beginning-of-sequence token). Special tokens
  // spelled out in the text are recognised either way. Invalid UTF-8 is read as U+FFFD.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;
  // Ids outside the vocabulary are skipped. Bytes that are no UTF-8 come out as U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  int32_t vocab_size() const;  // largest id + 1
  bool is_special(int32_t id) const;
  // The token as it is spelled in the vocabulary; empty for an unknown id.
  std::string token(int32_t id) const;

  class Implementation;
  const Implementation& implementation() const { return *implementation_; }

 private:
  Tokenizer();
  std::unique_ptr<Implementation> implementation_;
};

// Turns a stream of ids into a stream of text that never contains half a character. The concatenation of all
// pieces and finish() equals Tokenizer::decode of all ids. One thread; refers to the tokenizer.
class StreamDetokenizer {
 public:
  StreamDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);
  // Text that became certain with this id; may be empty.
  std::string add(int32_t id);
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;   // of the window that is decoded together
  size_t prefix_ = 0;          // ids_[0, prefix_) have been given out
};

}  // namespace batchmax::coordinator
