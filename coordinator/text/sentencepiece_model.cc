#include "coordinator/text/sentencepiece_model.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, stands for a space in pieces

bool is_plain(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// The first space behind kPart bytes that stands between two plain characters, which no normalizer joins with
// it.
size_t part_end(std::string_view text) {
  constexpr size_t kPart = 1024;
  for (size_t at = kPart; at + 1 < text.size(); ++at)
    if (text[at] == ' ' && is_plain(text[at - 1]) && is_plain(text[at + 1])) return at;
  return text.size();
}

// The tokens that tokenizer_config.json adds, by id.
std::map<int64_t, boost::json::object> read_added(const JsonNode& node) {
  std::map<int64_t, boost::json::object> added;
  for (const auto& [key, value] : node.as_object()) {
    int64_t id = -1;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (end.ec != std::errc() || end.ptr != key.data() + key.size() || id < 0 || id > Vocabulary::kLargestId)
      node.fail(fmt::format("expected ids as keys, found {}", std::string_view(key.data(), key.size())));
    if (!value.is_object()) node.at(key).as_object();  // says what it found
    added[id] = value.get_object();
    added[id]["id"] = id;
  }
  return added;
}

}  // namespace

SentencePieceModel::SentencePieceModel(const std::string& path)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const auto status = processor_->LoadFromSerializedProto(read_file(path));
  if (!status.ok())
    throw std::runtime_error(fmt::format("{}: not a SentencePiece model: {}", path, status.message()));
  std::vector<std::string> pieces;
  for (int id = 0; id < processor_->GetPieceSize(); ++id) pieces.push_back(processor_->IdToPiece(id));
  vocabulary_ = std::make_unique<Vocabulary>(Vocabulary::from_list(std::move(pieces)));
  const auto begins_with_mark = [&](std::string_view text) {
    std::vector<std::string> found;
    return processor_->Encode({text.data(), text.size()}, &found).ok() && !found.empty() &&
           found.front().starts_with(kMark);
  };
  adds_space_ = begins_with_mark("a");
  parts_ = can_be_parted() && (adds_space_ || begins_with_mark(" a"));
}

SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<Model::Scratch> SentencePieceModel::make_scratch(size_t) const {
  return std::make_unique<Scratch>();
}

bool SentencePieceModel::can_be_parted() const {
  for (int id = 0; id < processor_->GetPieceSize(); ++id) {
    if (processor_->IsControl(id) || processor_->IsUnknown(id)) continue;
    // BPE scores pieces by their rank; Unigram, which is fast as it is, by logarithms.
    if (processor_->GetScore(id) != std::floor(processor_->GetScore(id))) return false;
    const std::string& piece = processor_->IdToPiece(id);
    size_t leading = 0;
    while (piece.compare(leading, kMark.size(), kMark) == 0) leading += kMark.size();
    if (piece.find(kMark, leading) != std::string::npos) return false;
  }
  return true;
}

void SentencePieceModel::tokenize(std::string_view word, bool, Scratch& scratch,
                                  std::vector<int32_t>& ids) const {
  scratch.steps += word.size();
  std::vector<int> found;
  while (!word.empty()) {
    const size_t end = parts_ ? part_end(word) : word.size();
    const auto status = processor_->Encode({word.data(), end}, &found);
    if (!status.ok()) throw std::runtime_error(fmt::format("SentencePiece failed: {}", status.message()));
    ids.insert(ids.end(), found.begin(), found.end());
    // The space between two parts comes back before the second, unless that has it.
    word.remove_prefix(std::min(end + (adds_space_ ? 1 : 0), word.size()));
  }
}

boost::json::value SentencePieceModel::settings(const std::string& model_folder) const {
  const std::string file = model_folder + "/tokenizer_config.json";
  boost::json::value config = boost::json::object();
  if (std::filesystem::exists(file)) config = parse_json(read_file(file), file);
  boost::json::object settings;
  settings["added_tokens"] = added_tokens(config, file);
  settings["post_processor"] = post_processor(config, file);
  settings["decoder"] = decoder();
  return settings;
}

boost::json::array SentencePieceModel::added_tokens(const boost::json::value& config,
                                                    const std::string& file) const {
  const JsonNode root(config, file);
  std::map<int64_t, boost::json::object> added;
  if (root.has("added_tokens_decoder")) added = read_added(root.at("added_tokens_decoder"));
  for (int id = 0; id < processor_->GetPieceSize(); ++id) {
    if (!processor_->IsControl(id) && !processor_->IsUnknown(id)) continue;
    added.try_emplace(
        id,
        boost::json::object{
            {"id", id}, {"content", processor_->IdToPiece(id)}, {"special", true}, {"normalized", false}});
  }
  boost::json::array list;
  for (auto& [id, token] : added) list.push_back(std::move(token));
  return list;
}

boost::json::value SentencePieceModel::post_processor(const boost::json::value& config,
                                                      const std::string& file) const {
  const JsonNode root(config, file);
  boost::json::array pieces;
  boost::json::object tokens;
  const auto add = [&](int id) {
    const std::string name = processor_->IdToPiece(id);
    pieces.push_back(boost::json::object{{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", boost::json::array{id}}, {"tokens", boost::json::array{name}}};
  };
  // Without a word on it a beginning is marked and an end is not, as with the Llama models.
  if (processor_->bos_id() >= 0 && root.bool_or("add_bos_token", true)) add(processor_->bos_id());
  pieces.push_back(boost::json::object{{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (processor_->eos_id() >= 0 && root.bool_or("add_eos_token", false)) add(processor_->eos_id());
  return {
      {"type", "TemplateProcessing"}, {"single", std::move(pieces)}, {"special_tokens", std::move(tokens)}};
}

boost::json::value SentencePieceModel::decoder() const {
  boost::json::array stages = {{{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}};
  // Most models put a space before every text; then the first one goes.
  if (adds_space_)
    stages.push_back(boost::json::object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", std::move(stages)}};
}

}  // namespace batchmax::coordinator
