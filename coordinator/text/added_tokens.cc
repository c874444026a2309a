#include "coordinator/text/added_tokens.h"

#include <algorithm>

#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"
#include "coordinator/text/vocabulary.h"

namespace batchmax::coordinator {
namespace {

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  size_t at = previous_character(text, text.size());
  return is_word_character(next_code_point(text, at));
}

bool starts_with_word(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_word_character(next_code_point(text, at));
}

// Where the white space at the end of text[floor, end) begins.
size_t space_before(std::string_view text, size_t floor, size_t end) {
  while (end > floor) {
    const size_t last = previous_character(text, end);
    size_t at = last;
    if (!is_space(next_code_point(text, at))) break;
    end = last;
  }
  return end;
}

// Where the white space that begins at text[begin] ends.
size_t space_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t next = begin;
    if (!is_space(next_code_point(text, next))) break;
    begin = next;
  }
  return begin;
}

}  // namespace

void AddedTokens::Trie::insert(std::string_view text, int32_t id) {
  uint32_t node = 0;
  if (!text.empty()) first_byte[static_cast<uint8_t>(text[0])] = true;
  for (const char byte : text) {
    const auto [child, added] = children.try_emplace(
        static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte), static_cast<uint32_t>(nodes.size()));
    if (added) nodes.emplace_back();
    node = child->second;
  }
  if (node != 0 && nodes[node].id < 0) nodes[node].id = id;  // of two equal spellings the first counts
}

size_t AddedTokens::Trie::longest(std::string_view text, int32_t& id) const {
  size_t best = 0;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(text[i]));
    if (child == children.end()) break;
    node = child->second;
    if (nodes[node].id >= 0) {
      best = i + 1;
      id = nodes[node].id;
    }
  }
  return best;
}

AddedTokens::AddedTokens(const JsonNode& node, const Model& model, const Normalizer& normalizer) {
  struct Entry {
    std::string content;
    bool normalized, special;
  };
  std::vector<Entry> entries;
  if (node.is_null()) return;
  for (const JsonNode& item : node.items()) {
    item.at("id").as_integer(0, Vocabulary::kLargestId);
    Token token{item.at("content").as_string(), "", item.bool_or("single_word", false),
                item.bool_or("lstrip", false), item.bool_or("rstrip", false)};
    const bool special = item.bool_or("special", false);
    if (token.content.empty()) continue;
    if (ids_.contains(token.content)) item.fail("the token " + token.content + " is listed twice");
    if (special) special_.insert(token.content);
    int32_t id = model.find(token.content);
    if (id < 0) id = std::max(largest_id_ + 1, model.token_count());
    largest_id_ = std::max(largest_id_, id);
    entries.push_back({token.content, item.bool_or("normalized", !special), special});
    ids_[token.content] = id;
    token.spelling = token.content;
    by_id_[id] = std::move(token);
  }
  // Of two tokens that normalize to one spelling the special one counts, then the earlier one.
  for (const bool special : {true, false}) {
    for (const Entry& entry : entries) {
      if (entry.special != special) continue;
      const auto changed = entry.normalized ? normalizer.normalize(entry.content) : std::nullopt;
      const int32_t id = ids_.at(entry.content);
      if (changed) by_id_.at(id).spelling = *changed;
      (entry.normalized ? normalized_ : raw_).insert(by_id_.at(id).spelling, id);
    }
  }
}

void AddedTokens::split(std::string_view text, bool normalized, const Part& part) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  size_t done = 0;  // text[0, done) has been given out
  for (size_t at = 0; at < text.size();) {
    int32_t id = -1;
    const size_t length =
        trie.first_byte[static_cast<uint8_t>(text[at])] ? trie.longest(text.substr(at), id) : 0;
    if (length == 0) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + length;
    at = end;
    const Token& token = by_id_.at(id);
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end))))
      continue;
    if (token.lstrip && begin > done) begin = space_before(text, done, begin);
    if (token.rstrip) end = space_behind(text, end);
    if (done < begin) part(text.substr(done, begin - done), -1);
    part(text.substr(begin, end - begin), id);
    done = end;
  }
  if (done < text.size()) part(text.substr(done), -1);
}

const std::string* AddedTokens::content(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second.content;
}

const std::string* AddedTokens::spelling(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second.spelling;
}

int32_t AddedTokens::find(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? -1 : found->second;
}

}  // namespace batchmax::coordinator
