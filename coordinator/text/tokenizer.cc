#include "coordinator/text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "coordinator/text/added_tokens.h"
#include "coordinator/text/decoder.h"
#include "coordinator/text/json_file.h"
#include "coordinator/text/model.h"
#include "coordinator/text/normalizer.h"
#include "coordinator/text/post_processor.h"
#include "coordinator/text/pre_tokenizer.h"
#include "coordinator/text/sentencepiece_model.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {

class Tokenizer::Implementation {
 public:
  // root: a tokenizer.json, or the part of one that belongs to `model`.
  Implementation(const JsonNode& root, std::unique_ptr<Model> model)
      : normalizer_(root.get("normalizer")),
        pre_tokenizer_(root.get("pre_tokenizer")),
        model_(std::move(model)),
        added_(root.get("added_tokens"), *model_, normalizer_),
        post_processor_(root.get("post_processor")),
        decoder_(root.get("decoder")) {}

  std::vector<int32_t> encode(std::string_view text, uint64_t& steps) const {
    std::string repaired;
    if (!is_valid_utf8(text)) text = repaired = replace_invalid_utf8(text);
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 4 + 4);
    const auto scratch = model_->make_scratch(text.size());
    const PreTokenizer::Word word = [&](std::string_view piece) {
      model_->tokenize(piece, pre_tokenizer_.byte_level(), *scratch, ids);
    };
    const char* beginning = text.data();
    added_.split(text, false, [&](std::string_view raw, int32_t raw_id) {
      if (raw_id >= 0) return ids.push_back(raw_id);
      bool at_start = raw.data() == beginning;
      const auto normalized = normalizer_.normalize(raw);
      added_.split(normalized ? std::string_view(*normalized) : raw, true,
                   [&](std::string_view part, int32_t id) {
                     if (id >= 0) {
                       ids.push_back(id);
                     } else {
                       pre_tokenizer_.split(part, at_start, word);
                     }
                     at_start = false;
                   });
    });
    steps += scratch->steps;
    return ids;
  }

  void add_special_tokens(std::vector<int32_t>& ids) const { post_processor_.add_special_tokens(ids); }

  // Null for an unknown id.
  const std::string* token(int32_t id) const {
    if (const std::string* content = added_.content(id)) return content;
    const auto& tokens = model_->tokens();
    if (id < 0 || static_cast<size_t>(id) >= tokens.size() || tokens[static_cast<size_t>(id)].empty())
      return nullptr;
    return &tokens[static_cast<size_t>(id)];
  }
  // The token as the decoder is to see it.
  const std::string* decodable(int32_t id) const {
    const std::string* spelled = added_.spelling(id);
    return spelled != nullptr ? spelled : token(id);
  }
  bool is_special(int32_t id) const {
    const std::string* spelled = token(id);
    return spelled != nullptr && added_.is_special(*spelled);
  }
  int32_t id(std::string_view token) const {
    const int32_t added = added_.find(token);
    return added >= 0 ? added : model_->find(token);
  }
  int32_t vocab_size() const {
    return std::max(static_cast<int32_t>(model_->tokens().size()), added_.largest_id() + 1);
  }
  const Decoder& decoder() const { return decoder_; }

 private:
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<Model> model_;
  AddedTokens added_;
  PostProcessor post_processor_;
  Decoder decoder_;
};

Tokenizer::Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::parse(std::string_view json, const std::string& name) {
  const boost::json::value document = parse_json(json, name);
  const JsonNode root(document, name);
  Tokenizer tokenizer;
  tokenizer.implementation_ = std::make_unique<Implementation>(root, make_model(root.at("model")));
  return tokenizer;
}

bool Tokenizer::is_in(const std::string& model_folder) {
  return std::filesystem::exists(model_folder + "/tokenizer.json") ||
         std::filesystem::exists(model_folder + "/tokenizer.model");
}

Tokenizer Tokenizer::load(const std::string& model_folder) {
  const std::string path = model_folder + "/tokenizer.json";
  const std::string pieces = model_folder + "/tokenizer.model";
  if (std::filesystem::exists(path) || !std::filesystem::exists(pieces)) return parse(read_file(path), path);
  auto model = std::make_unique<SentencePieceModel>(pieces);
  const boost::json::value settings = model->settings(model_folder);
  Tokenizer tokenizer;
  tokenizer.implementation_ = std::make_unique<Implementation>(
      JsonNode(settings, model_folder + "/tokenizer_config.json"), std::move(model));
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  uint64_t steps = 0;
  return encode(text, add_special_tokens, steps);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                       uint64_t& steps) const {
  std::vector<int32_t> ids = implementation_->encode(text, steps);
  if (add_special_tokens) implementation_->add_special_tokens(ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  StreamDetokenizer stream(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += stream.add(id);
  text += stream.finish();
  return text;
}

int32_t Tokenizer::vocab_size() const { return implementation_->vocab_size(); }
bool Tokenizer::is_special(int32_t id) const { return implementation_->is_special(id); }
int32_t Tokenizer::id(std::string_view token) const { return implementation_->id(token); }

std::string Tokenizer::bytes(int32_t id) const {
  const std::string* token = implementation_->decodable(id);
  return token == nullptr ? std::string() : implementation_->decoder().bytes_of(*token);
}

std::string Tokenizer::token(int32_t id) const {
  const std::string* spelled = implementation_->token(id);
  return spelled == nullptr ? std::string() : *spelled;
}

class StreamDetokenizer::State {
 public:
  State(const Tokenizer::Implementation& tokenizer, bool skip_special_tokens, bool behind_text)
      : tokenizer_(&tokenizer),
        skip_special_tokens_(skip_special_tokens),
        stream_(tokenizer.decoder(), behind_text) {}

  std::string add(int32_t id) {
    const std::string* token = tokenizer_->decodable(id);
    if (token == nullptr || (skip_special_tokens_ && tokenizer_->is_special(id))) return {};
    return stream_.add(*token);
  }
  std::string finish() { return stream_.finish(); }

 private:
  const Tokenizer::Implementation* tokenizer_;
  bool skip_special_tokens_;
  Decoder::Stream stream_;
};

StreamDetokenizer::StreamDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, bool behind_text)
    : state_(std::make_unique<State>(tokenizer.implementation(), skip_special_tokens, behind_text)) {}
StreamDetokenizer::StreamDetokenizer(StreamDetokenizer&&) noexcept = default;
StreamDetokenizer& StreamDetokenizer::operator=(StreamDetokenizer&&) noexcept = default;
StreamDetokenizer::~StreamDetokenizer() = default;

std::string StreamDetokenizer::add(int32_t id) { return state_->add(id); }
std::string StreamDetokenizer::finish() { return state_->finish(); }

}  // namespace batchmax::coordinator
