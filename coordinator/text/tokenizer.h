// Text to token ids and back, from a model folder's tokenizer.json or, without one, its tokenizer.model. Ids
// equal those of the Python packages `tokenizers` and `sentencepiece`. Immutable after load: any number of
// threads may encode and decode at once.
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
  // One of the two files is in the folder.
  static bool is_in(const std::string& model_folder);
  // Throws std::runtime_error naming file, key, expected and found.
  static Tokenizer load(const std::string& model_folder);
  // From the text of a tokenizer.json; `name` stands for the file in messages.
  static Tokenizer parse(std::string_view json, const std::string& name);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // add_special_tokens: apply the post-processor (for example a beginning-of-sequence token). Special tokens
  // spelled out in the text are recognised either way. Invalid UTF-8 is read as U+FFFD.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;
  // The same; adds to `steps` the elementary steps taken (linear in the text, up to a logarithm inside one
  // word).
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens, uint64_t& steps) const;
  // Ids outside the vocabulary are skipped. Bytes that are no UTF-8 come out as U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  int32_t vocab_size() const;  // largest id + 1
  bool is_special(int32_t id) const;
  // What the token adds in the middle of a text: bytes, which may be a part of a character. Empty for an
  // unknown id.
  std::string bytes(int32_t id) const;
  // The token as it is spelled in the vocabulary; empty for an unknown id.
  std::string token(int32_t id) const;
  // -1 for a token that is not in the vocabulary.
  int32_t id(std::string_view token) const;

  class Implementation;
  const Implementation& implementation() const { return *implementation_; }

 private:
  Tokenizer();
  std::unique_ptr<Implementation> implementation_;
};

// Turns a stream of ids into a stream of text that never contains half a character. The concatenation of all
// pieces and finish() equals Tokenizer::decode of all ids. One thread; refers to the tokenizer.
// behind_text: the ids go on with a text, so the space that tokenizers of the SentencePiece kind take off the
// beginning of a text stays.
class StreamDetokenizer {
 public:
  StreamDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, bool behind_text = false);
  StreamDetokenizer(StreamDetokenizer&&) noexcept;
  StreamDetokenizer& operator=(StreamDetokenizer&&) noexcept;
  ~StreamDetokenizer();

  // Text that became certain with this id; may be empty.
  std::string add(int32_t id);
  // What was still held back. No add() behind it.
  std::string finish();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace batchmax::coordinator
