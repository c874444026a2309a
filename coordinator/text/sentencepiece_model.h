// A tokenizer.model, for folders without tokenizer.json. The SentencePiece library does the work on the text
// between special tokens; ids equal those of the Python package sentencepiece.
#pragma once

#include <boost/json/value.hpp>

#include "coordinator/text/model.h"
#include "coordinator/text/vocabulary.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace batchmax::coordinator {

class SentencePieceModel final : public Model {
 public:
  // Throws std::runtime_error naming the file.
  explicit SentencePieceModel(const std::string& path);
  ~SentencePieceModel() override;

  std::unique_ptr<Scratch> make_scratch(size_t text_size) const override;
  // A word is a whole text between special tokens. REQUIRES !bytes.
  void tokenize(std::string_view word, bool bytes, Scratch& scratch,
                std::vector<int32_t>& ids) const override;
  const std::vector<std::string>& tokens() const override { return vocabulary_->tokens(); }
  int32_t token_count() const override { return vocabulary_->count(); }
  int32_t find(std::string_view token) const override { return vocabulary_->find(token); }

  // What a tokenizer.json would say beside the model: added_tokens, post_processor, decoder. From the model
  // and from the folder's tokenizer_config.json, where there is one (add_bos_token, add_eos_token,
  // added_tokens_decoder).
  boost::json::value settings(const std::string& model_folder) const;

 private:
  // The library's BPE slows down with the size of its text: where no piece reaches across a space, long texts
  // are given to it in parts, with the same ids.
  bool can_be_parted() const;
  boost::json::array added_tokens(const boost::json::value& config, const std::string& file) const;
  boost::json::value post_processor(const boost::json::value& config, const std::string& file) const;
  boost::json::value decoder() const;

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::unique_ptr<Vocabulary> vocabulary_;
  bool adds_space_ = false;  // a text is tokenized as if a space stood before it
  bool parts_ = false;
};

}  // namespace batchmax::coordinator
