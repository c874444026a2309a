#include "coordinator/text/decoder.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/pattern.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

using Stage = Decoder::Stage;
using StageFactory = Decoder::StageFactory;

// Gives a token as it is, with a space before all but the first.
class JoinWithSpaces final : public Stage {
 public:
  void add(std::string_view token) override {
    if (!first_) emit(" ");
    first_ = false;
    emit(token);
  }

 private:
  bool first_ = true;
};

// Characters of the byte-level alphabet back to bytes; a token with any other character is taken as it is.
// Bytes of an unfinished character wait.
class FromByteLevel final : public Stage {
 public:
  void add(std::string_view token) override {
    std::string bytes;
    if (!characters_to_bytes(token, bytes)) bytes = token;
    pending_ += bytes;
    std::string text;
    std::string_view rest = pending_;
    while (!rest.empty()) {
      const Utf8Head head = utf8_head(rest);
      if (head.truncated) break;
      text += head.valid ? rest.substr(0, head.length) : kReplacementCharacter;
      rest.remove_prefix(head.length);
    }
    pending_.erase(0, pending_.size() - rest.size());
    if (!text.empty()) emit(text);
  }
  void finish() override {
    if (!pending_.empty()) emit(replace_invalid_utf8(pending_));
    pending_.clear();
    next_->finish();
  }

 private:
  std::string pending_;
};

// <0xE2>: a byte. Empty for any other token.
std::optional<char> parse_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  const auto [end, fault] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (fault != std::errc() || end != token.data() + 5 || token[3] == '-') return std::nullopt;
  return static_cast<char>(value);
}

// A run of tokens such as <0xE2> becomes its characters if the whole run is UTF-8, else one U+FFFD per token.
class FromByteTokens final : public Stage {
 public:
  void add(std::string_view token) override {
    if (const auto byte = parse_byte(token)) {
      run_.push_back(*byte);
    } else {
      flush();
      emit(token);
    }
  }
  void finish() override {
    flush();
    next_->finish();
  }

 private:
  void flush() {
    if (run_.empty()) return;
    if (is_valid_utf8(run_)) {
      emit(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) emit(kReplacementCharacter);
    }
    run_.clear();
  }

  std::string run_;
};

class ReplaceInTokens final : public Stage {
 public:
  ReplaceInTokens(const Pattern& pattern, const std::string& content)
      : pattern_(&pattern), content_(&content) {}
  void add(std::string_view token) override {
    std::string out;
    pattern_->for_each(token, [&](size_t begin, size_t end, bool is_match) {
      out += is_match ? std::string_view(*content_) : token.substr(begin, end - begin);
    });
    emit(out);
  }

 private:
  const Pattern* pattern_;
  const std::string* content_;
};

// Metaspace: marks become spaces; those of the first token vanish where a mark was put before the text.
class FromMetaspace final : public Stage {
 public:
  FromMetaspace(const std::string& mark, bool drops_first) : mark_(&mark), drops_first_(drops_first) {}
  void add(std::string_view token) override {
    std::string out;
    while (!token.empty()) {
      if (token.starts_with(*mark_)) {
        if (!drops_first_) out += ' ';
        token.remove_prefix(mark_->size());
      } else {
        out += token[0];
        token.remove_prefix(1);
      }
    }
    drops_first_ = false;
    emit(out);
  }

 private:
  const std::string* mark_;
  bool drops_first_;
};

// Takes up to `start` and `stop` characters equal to `content` from both ends: of every token, or, where the
// tokens have been fused before, of the whole text (then what may be the end waits).
class StripEnds final : public Stage {
 public:
  StripEnds(const std::string& content, size_t start, size_t stop, bool fused)
      : content_(&content), start_(start), stop_(stop), fused_(fused), left_(start) {}
  void add(std::string_view token) override {
    if (!fused_) {
      left_ = start_;
      at_start_ = true;
    }
    waiting_ += token;
    while (at_start_ && left_ > 0 && waiting_.starts_with(*content_)) {
      waiting_.erase(0, content_->size());
      --left_;
    }
    if (!waiting_.empty() || left_ == 0) at_start_ = false;
    if (!fused_) return give_all();
    const size_t kept = waiting_.size() - strippable();
    if (kept > 0) {
      emit(std::string(waiting_, 0, kept));
      waiting_.erase(0, kept);
    }
  }
  void finish() override {
    give_all();
    next_->finish();
  }

 private:
  // Bytes at the end that would go if the text ended here.
  size_t strippable() const {
    std::string_view rest = waiting_;
    for (size_t i = 0; i < stop_ && rest.ends_with(*content_); ++i) rest.remove_suffix(content_->size());
    return waiting_.size() - rest.size();
  }
  void give_all() {
    waiting_.resize(waiting_.size() - strippable());
    if (!waiting_.empty() || !fused_) emit(waiting_);
    waiting_.clear();
  }

  const std::string* content_;
  size_t start_, stop_;
  bool fused_;
  size_t left_;
  bool at_start_ = true;
  std::string waiting_;
};

template <typename Make>
class FactoryOf final : public StageFactory {
 public:
  explicit FactoryOf(Make make) : make_(std::move(make)) {}
  std::unique_ptr<Stage> make() const override { return make_(); }

 private:
  Make make_;
};
template <typename Make>
std::unique_ptr<StageFactory> factory(Make make) {
  return std::make_unique<FactoryOf<Make>>(std::move(make));
}

void collect(const JsonNode& node, std::vector<JsonNode>& flat) {
  if (node.at("type").as_string() != "Sequence") {
    flat.push_back(node);
    return;
  }
  for (const JsonNode& item : node.at("decoders").items()) collect(item, flat);
}

std::unique_ptr<StageFactory> replace_factory(const JsonNode& node) {
  auto pattern = std::make_shared<Pattern>(node.at("pattern"));
  return factory([pattern, content = node.at("content").as_string()] {
    return std::make_unique<ReplaceInTokens>(*pattern, content);
  });
}

std::unique_ptr<StageFactory> metaspace_factory(const JsonNode& node) {
  const std::string scheme =
      node.string_or("prepend_scheme", node.bool_or("add_prefix_space", true) ? "always" : "never");
  return factory([mark = node.string_or("replacement", "\xE2\x96\x81"), drops = scheme != "never"] {
    return std::make_unique<FromMetaspace>(mark, drops);
  });
}

std::unique_ptr<StageFactory> strip_factory(const JsonNode& node, bool fused) {
  constexpr int64_t kMost = 1 << 20;
  const auto start = static_cast<size_t>(node.integer_or("start", 0, kMost, 0));
  const auto stop = static_cast<size_t>(node.integer_or("stop", 0, kMost, 0));
  std::string content = node.at("content").as_string();
  if (count_code_points(content) != 1) node.at("content").fail("expected one character");
  return factory([content = std::move(content), start, stop, fused] {
    return std::make_unique<StripEnds>(content, start, stop, fused);
  });
}

}  // namespace

Decoder::Decoder(const JsonNode& node) {
  if (node.is_null()) {
    factories_.push_back(factory([] { return std::make_unique<JoinWithSpaces>(); }));
    return;
  }
  std::vector<JsonNode> flat;
  collect(node, flat);
  bool fused = false;  // the tokens have become one text
  for (const JsonNode& item : flat) {
    const std::string type = item.at("type").as_string();
    if (type == "Fuse") {
      fused = true;
    } else if (type == "Strip") {
      factories_.push_back(strip_factory(item, fused));
    } else if (fused) {
      // Behind Fuse these would see the whole text as one token: no published tokenizer does that.
      item.at("type").fail(type + " behind Fuse or ByteLevel is not known here");
    } else if (type == "ByteLevel") {
      factories_.push_back(factory([] { return std::make_unique<FromByteLevel>(); }));
      fused = byte_level_ = true;
    } else if (type == "ByteFallback") {
      factories_.push_back(factory([] { return std::make_unique<FromByteTokens>(); }));
      byte_tokens_ = true;
    } else if (type == "Replace") {
      factories_.push_back(replace_factory(item));
    } else if (type == "Metaspace") {
      factories_.push_back(metaspace_factory(item));
    } else {
      item.at("type").fail(
          "expected one of ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, Sequence, found " +
          type);
    }
  }
}

Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;
Decoder::~Decoder() = default;

std::string Decoder::bytes_of(std::string_view token) const {
  if (byte_level_) {
    std::string bytes;
    return characters_to_bytes(token, bytes) ? bytes : std::string(token);
  }
  if (byte_tokens_) {
    if (const auto byte = parse_byte(token)) return {*byte};
  }
  Stream stream(*this, true);
  std::string text = stream.add(token);
  return text += stream.finish();
}

class Decoder::Stream::Output final : public Stage {
 public:
  void add(std::string_view token) override { text += token; }
  void finish() override {}
  std::string text;
};

Decoder::Stream::Stream(const Decoder& decoder, bool behind_text) {
  for (const auto& made : decoder.factories_) stages_.push_back(made->make());
  stages_.push_back(std::make_unique<Output>());
  for (size_t i = 0; i + 1 < stages_.size(); ++i) stages_[i]->set_next(stages_[i + 1].get());
  // A token that every decoder passes on at once.
  if (behind_text) add("a");
}
Decoder::Stream::Stream(Stream&&) noexcept = default;
Decoder::Stream& Decoder::Stream::operator=(Stream&&) noexcept = default;
Decoder::Stream::~Stream() = default;

std::string Decoder::Stream::add(std::string_view token) {
  stages_.front()->add(token);
  return std::exchange(static_cast<Output&>(*stages_.back()).text, {});
}

std::string Decoder::Stream::finish() {
  stages_.front()->finish();
  return std::exchange(static_cast<Output&>(*stages_.back()).text, {});
}

}  // namespace batchmax::coordinator
