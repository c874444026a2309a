#include "coordinator/text/normalizer.h"

#include "coordinator/text/normal_form.h"
#include "coordinator/text/pattern.h"
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

std::unique_ptr<Stage> make_stage(const JsonNode& node) {
  const std::string type = node.at("type").as_string();
  if (type == "NFC") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfc);
  if (type == "NFD") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfd);
  if (type == "NFKC") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfkc);
  if (type == "NFKD") return std::make_unique<NormalFormStage>(NormalForm::Kind::kNfkd);
  if (type == "Prepend") return std::make_unique<PrependStage>(node);
  if (type == "Replace") return std::make_unique<ReplaceStage>(node);
  if (type == "Strip") return std::make_unique<StripStage>(node);
  node.at("type").fail("expected one of NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Sequence, found " +
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
