#include "coordinator/text/normalizer.h"

#include <utf8proc.h>

#include "coordinator/text/normal_form.h"
#include "coordinator/text/pattern.h"
#include "coordinator/text/precompiled_map.h"
#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {

class Normalizer::Stage {
 public:
  virtual ~Stage() = default;
  virtual std::optional<std::string> normalize(std::string_view text) const = 0;
};

namespace {

using Stage = Normalizer::Stage;

class NormalFormStage final : public Stage {
 public:
  explicit NormalFormStage(NormalForm::Kind kind) : form_(kind) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    if (form_.is_normal(text)) return std::nullopt;
    return form_.normalize(text);
  }

 private:
  NormalForm form_;
};

class PrependStage final : public Stage {
 public:
  explicit PrependStage(const JsonNode& node) : prefix_(node.at("prepend").as_string()) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    if (text.empty()) return std::nullopt;
    return prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class ReplaceStage final : public Stage {
 public:
  explicit ReplaceStage(const JsonNode& node)
      : pattern_(node.at("pattern")), content_(node.at("content").as_string()) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    if (text.empty()) return std::nullopt;  // as in the Python package: not even for a pattern such as ^
    std::string out;
    bool changed = false;
    pattern_.for_each(text, [&](size_t begin, size_t end, bool is_match) {
      changed |= is_match;
      out += is_match ? std::string_view(content_) : text.substr(begin, end - begin);
    });
    if (!changed) return std::nullopt;
    return out;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripStage final : public Stage {
 public:
  explicit StripStage(const JsonNode& node)
      : left_(node.bool_or("strip_left", true)), right_(node.bool_or("strip_right", true)) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!is_space(next_code_point(text, next))) break;
      begin = next;
    }
    while (right_ && begin < end) {
      const size_t last = previous_character(text, end);
      size_t at = last;
      if (!is_space(next_code_point(text, at))) break;
      end = last;
    }
    if (begin == 0 && end == text.size()) return std::nullopt;
    return std::string(text.substr(begin, end - begin));
  }

 private:
  bool left_, right_;
};

// Rewrites each character by itself.
class CharacterStage final : public Stage {
 public:
  using Rewrite = void (*)(char32_t c, std::string& out);
  explicit CharacterStage(Rewrite rewrite) : rewrite_(rewrite) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) rewrite_(next_code_point(text, at), out);
    if (out == text) return std::nullopt;
    return out;
  }

 private:
  Rewrite rewrite_;
};

void lower(char32_t c, std::string& out) {
  if (c == 0x130) {  // I with a dot: the only one that becomes two
    out += "i\u0307";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

void strip_accent(char32_t c, std::string& out) {
  if (!is_accent(c)) append_utf8(out, c);
}

// SentencePiece's "nmt": controls go, and more characters than Unicode's white space become spaces.
void clean_for_translation(char32_t c, std::string& out) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  const bool control =
      within(0x1, 0x8) || c == 0xB || within(0xE, 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  if (control) return;
  const bool space = within(0x9, 0xD) || c == 0x1680 || within(0x200B, 0x200F) || c == 0x2028 ||
                     c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  append_utf8(out, space ? U' ' : c);
}

class PrecompiledStage final : public Stage {
 public:
  explicit PrecompiledStage(const JsonNode& node) : map_(node.at("precompiled_charsmap")) {}
  std::optional<std::string> normalize(std::string_view text) const override {
    std::string out = map_.normalize(text);
    if (out == text) return std::nullopt;
    return out;
  }

 private:
  PrecompiledMap map_;
};

std::unique_ptr<Stage> make_stage(const JsonNode& node) {
  const std::string type = node.at("type").as_string();
  if (type == "NFC") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfc);
  if (type == "NFD") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfd);
  if (type == "NFKC") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfkc);
  if (type == "NFKD") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfkd);
  if (type == "Prepend") return std::make_unique<PrependStage>(node);
  if (type == "Replace") return std::make_unique<ReplaceStage>(node);
  if (type == "Strip") return std::make_unique<StripStage>(node);
  if (type == "Lowercase") return std::make_unique<CharacterStage>(lower);
  if (type == "StripAccents") return std::make_unique<CharacterStage>(strip_accent);
  if (type == "Nmt") return std::make_unique<CharacterStage>(clean_for_translation);
  if (type == "Precompiled") return std::make_unique<PrecompiledStage>(node);
  node.at("type").fail(
      "expected one of NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Lowercase, StripAccents, Nmt, "
      "Precompiled, Sequence, found " +
      type);
}

void collect(const JsonNode& node, std::vector<std::unique_ptr<Stage>>& stages) {
  if (node.is_null()) return;
  if (node.at("type").as_string() == "Sequence") {
    for (const JsonNode& item : node.at("normalizers").items()) collect(item, stages);
  } else {
    stages.push_back(make_stage(node));
  }
}

}  // namespace

Normalizer::Normalizer(const JsonNode& node) { collect(node, stages_); }
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;
Normalizer::~Normalizer() = default;

std::optional<std::string> Normalizer::normalize(std::string_view text) const {
  std::optional<std::string> result;
  for (const auto& stage : stages_) {
    if (auto next = stage->normalize(result ? std::string_view(*result) : text)) result = std::move(next);
  }
  return result;
}

}  // namespace batchmax::coordinator
