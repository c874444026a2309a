#include "coordinator/text/pre_tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <optional>
#include <string>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/pattern.h"
#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"
#include "coordinator/text/word_scanner.h"

namespace batchmax::coordinator {

class PreTokenizer::Stage {
 public:
  virtual ~Stage() = default;
  virtual void split(std::string_view text, bool at_start, const Word& word) const = 0;
};

namespace {

using Stage = PreTokenizer::Stage;
using Word = PreTokenizer::Word;

// ByteLevel without its mapping of bytes: the prefix space and GPT-2's pattern.
class ByteLevelStage final : public Stage {
 public:
  explicit ByteLevelStage(const JsonNode& node)
      : add_prefix_space_(node.bool_or("add_prefix_space", true)),
        use_regex_(node.bool_or("use_regex", true)) {}

  void split(std::string_view text, bool, const Word& word) const override {
    std::string prefixed;
    if (add_prefix_space_ && !text.starts_with(' ')) {
      prefixed = " ";
      prefixed += text;
      text = prefixed;
    }
    if (!use_regex_) return word(text);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = word_end(WordPattern::kGpt2, text, begin);
      word(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
};

// ByteLevel's mapping, for where it is not the last stage.
class ByteMappingStage final : public Stage {
 public:
  void split(std::string_view text, bool, const Word& word) const override {
    word(bytes_to_characters(text));
  }
};

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior read_behavior(const JsonNode& node) {
  const std::string name = node.as_string();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  node.fail("expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, found " + name);
}

// Joins the parts of a pattern (matches, which may be empty, and gaps) into words, none empty. One object per
// text.
class PartJoiner {
 public:
  PartJoiner(Behavior behavior, std::string_view text, const Word& word)
      : behavior_(behavior), text_(text), word_(word) {}

  void add(size_t begin, size_t end, bool is_match) {
    switch (behavior_) {
      case Behavior::kRemoved:
        if (!is_match) emit(begin, end);
        return;
      case Behavior::kIsolated:
        emit(begin, end);
        return;
      case Behavior::kMergedWithPrevious:
        // A match joins the part before it, unless that was a match too.
        if (is_match && !last_was_match_ && open_) {
          end_ = end;
        } else {
          finish();
          open(begin, end);
        }
        break;
      case Behavior::kMergedWithNext:
        // A gap joins the match before it; of two matches in a row each stands alone until a gap follows.
        if (!is_match && last_was_match_ && open_) {
          end_ = end;
        } else {
          finish();
          open(begin, end);
        }
        break;
      case Behavior::kContiguous:
        if (open_ && is_match == last_was_match_) {
          end_ = end;
        } else {
          finish();
          open(begin, end);
        }
        break;
    }
    last_was_match_ = is_match;
  }
  void finish() {
    if (open_) emit(begin_, end_);
    open_ = false;
  }

 private:
  void open(size_t begin, size_t end) {
    begin_ = begin;
    end_ = end;
    open_ = true;
  }
  void emit(size_t begin, size_t end) {
    if (begin < end) word_(text_.substr(begin, end - begin));
  }

  Behavior behavior_;
  std::string_view text_;
  const Word& word_;
  size_t begin_ = 0, end_ = 0;
  bool open_ = false;
  bool last_was_match_ = false;
};

class SplitStage final : public Stage {
 public:
  explicit SplitStage(const JsonNode& node)
      : pattern_(node.at("pattern")),
        behavior_(read_behavior(node.at("behavior"))),
        invert_(node.bool_or("invert", false)) {}

  void split(std::string_view text, bool, const Word& word) const override {
    PartJoiner joiner(behavior_, text, word);
    pattern_.for_each(
        text, [&](size_t begin, size_t end, bool is_match) { joiner.add(begin, end, is_match != invert_); });
    joiner.finish();
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

bool is_number(char32_t c) { return character_class(c) == CharacterClass::kNumber; }

// Cuts at every character of a kind: Digits, Punctuation, WhitespaceSplit.
class CharacterStage final : public Stage {
 public:
  CharacterStage(bool (*matches)(char32_t), Behavior behavior) : matches_(matches), behavior_(behavior) {}

  void split(std::string_view text, bool, const Word& word) const override {
    PartJoiner joiner(behavior_, text, word);
    size_t gap = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (!matches_(next_code_point(text, at))) continue;
      if (begin > gap) joiner.add(gap, begin, false);
      joiner.add(begin, at, true);
      gap = at;
    }
    if (gap < text.size()) joiner.add(gap, text.size(), false);
    joiner.finish();
  }

 private:
  bool (*matches_)(char32_t);
  Behavior behavior_;
};

// \w+|[^\w\s]+: runs of word characters, and runs of what is neither that nor space.
class WhitespaceStage final : public Stage {
 public:
  void split(std::string_view text, bool, const Word& word) const override {
    const auto kind = [&](size_t& at) {
      const char32_t c = next_code_point(text, at);
      return is_word_character(c) ? 1 : is_space(c) ? 0 : 2;
    };
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin;
      const int its_kind = kind(end);
      for (size_t at = end; at < text.size() && kind(at) == its_kind;) end = at;
      if (its_kind != 0) word(text.substr(begin, end - begin));
      begin = end;
    }
  }
};

// SentencePiece's view of spaces: each becomes a visible mark, and a word begins at it.
class MetaspaceStage final : public Stage {
 public:
  explicit MetaspaceStage(const JsonNode& node)
      : mark_(node.string_or("replacement", "\xE2\x96\x81")), split_(node.bool_or("split", true)) {
    std::string scheme = node.string_or("prepend_scheme", "always");
    if (node.has("add_prefix_space") && !node.at("add_prefix_space").as_bool()) {
      if (node.has("prepend_scheme") && scheme != "never")
        node.fail("add_prefix_space is false, so prepend_scheme must be never, found " + scheme);
      scheme = "never";
    }
    if (scheme != "always" && scheme != "first" && scheme != "never")
      node.at("prepend_scheme").fail("expected always, first or never, found " + scheme);
    if (count_code_points(mark_) != 1) node.at("replacement").fail("expected one character");
    first_only_ = scheme == "first";
    never_ = scheme == "never";
  }

  void split(std::string_view text, bool at_start, const Word& word) const override {
    std::string marked;
    marked.reserve(text.size() + text.size() / 4 + mark_.size());
    for (const char c : text) c == ' ' ? marked += mark_ : marked += c;
    if (!never_ && (!first_only_ || at_start) && !marked.starts_with(mark_)) marked.insert(0, mark_);
    if (!split_) return word(marked);
    const std::string_view all = marked;
    for (size_t begin = 0; begin < all.size();) {
      const size_t next = all.find(mark_, begin + 1);
      const size_t end = next == std::string_view::npos ? all.size() : next;
      word(all.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  std::string mark_;
  bool split_;
  bool first_only_ = false;
  bool never_ = false;
};

void collect(const JsonNode& node, std::vector<JsonNode>& flat) {
  if (node.is_null()) return;
  if (node.at("type").as_string() != "Sequence") {
    flat.push_back(node);
    return;
  }
  for (const JsonNode& item : node.at("pretokenizers").items()) collect(item, flat);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonNode& node) {
  std::vector<JsonNode> flat;
  collect(node, flat);
  for (size_t i = 0; i < flat.size(); ++i) {
    const std::string type = flat[i].at("type").as_string();
    if (type == "ByteLevel") {
      stages_.push_back(std::make_unique<ByteLevelStage>(flat[i]));
      if (i + 1 == flat.size()) {
        byte_level_ = true;
      } else {
        stages_.push_back(std::make_unique<ByteMappingStage>());
      }
    } else if (type == "Split") {
      stages_.push_back(std::make_unique<SplitStage>(flat[i]));
    } else if (type == "Digits") {
      const bool each = flat[i].bool_or("individual_digits", false);
      stages_.push_back(
          std::make_unique<CharacterStage>(is_number, each ? Behavior::kIsolated : Behavior::kContiguous));
    } else if (type == "Punctuation") {
      const bool said = flat[i].has("behavior");
      stages_.push_back(std::make_unique<CharacterStage>(
          is_punctuation, said ? read_behavior(flat[i].at("behavior")) : Behavior::kIsolated));
    } else if (type == "WhitespaceSplit") {
      stages_.push_back(std::make_unique<CharacterStage>(is_space, Behavior::kRemoved));
    } else if (type == "Whitespace") {
      stages_.push_back(std::make_unique<WhitespaceStage>());
    } else if (type == "Metaspace") {
      stages_.push_back(std::make_unique<MetaspaceStage>(flat[i]));
    } else {
      flat[i].at("type").fail(
          "expected one of ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, Metaspace, "
          "Sequence, found " +
          type);
    }
  }
}

PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::split(std::string_view text, bool at_start, const Word& word) const {
  run(0, text, at_start, word);
}

void PreTokenizer::run(size_t stage, std::string_view text, bool at_start, const Word& word) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return word(text);
  if (stage + 1 == stages_.size()) return stages_[stage]->split(text, at_start, word);
  bool first = true;
  stages_[stage]->split(text, at_start, [&](std::string_view piece) {
    // A piece with text before it that was removed is not the beginning. Stages that rewrite give out memory
    // of their own, and remove nothing.
    const bool moved =
        std::less<>()(text.data(), piece.data()) && std::less<>()(piece.data(), text.data() + text.size());
    run(stage + 1, piece, at_start && first && !moved, word);
    first = false;
  });
}

}  // namespace batchmax::coordinator
