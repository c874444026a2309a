// The layout of the trie's units is that of darts-clone, which SentencePiece uses
// (github.com/s-yata/darts-clone).
#include "coordinator/text/precompiled_map.h"

#include <utf8proc.h>

#include <cstring>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

// Clusters of more bytes are replaced character by character, as the Python package does.
constexpr size_t kLongestCluster = 5;

bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1U << 9) >> 6); }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFF; }

// Nothing where it is not base64.
std::optional<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const uint32_t digit = c >= 'A' && c <= 'Z'   ? static_cast<uint32_t>(c - 'A')
                           : c >= 'a' && c <= 'z' ? static_cast<uint32_t>(c - 'a') + 26
                           : c >= '0' && c <= '9' ? static_cast<uint32_t>(c - '0') + 52
                           : c == '+'             ? 62
                           : c == '/'             ? 63
                                                  : 64;
    if (digit == 64) return std::nullopt;
    bits = bits << 6 | digit;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  return bytes;
}

// The end of the cluster of characters that begins at text[begin].
size_t cluster_end(std::string_view text, size_t begin) {
  size_t at = begin;
  auto before = static_cast<utf8proc_int32_t>(next_code_point(text, at));
  utf8proc_int32_t state = 0;
  while (at < text.size()) {
    size_t next = at;
    const auto c = static_cast<utf8proc_int32_t>(next_code_point(text, next));
    if (utf8proc_grapheme_break_stateful(before, c, &state)) break;
    before = c;
    at = next;
  }
  return at;
}

}  // namespace

PrecompiledMap::PrecompiledMap(const JsonNode& node) {
  if (node.is_null()) return;
  const auto bytes = decode_base64(node.as_string());
  uint32_t trie_bytes = 0;
  if (!bytes || bytes->size() < sizeof trie_bytes) node.fail("expected a table in base64");
  std::memcpy(&trie_bytes, bytes->data(), sizeof trie_bytes);
  if (trie_bytes % sizeof(uint32_t) != 0 || trie_bytes > bytes->size() - sizeof trie_bytes)
    node.fail("the table is shorter than it says");
  trie_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(trie_.data(), bytes->data() + sizeof trie_bytes, trie_bytes);
  texts_ = bytes->substr(sizeof trie_bytes + trie_bytes);
  if (!is_valid_utf8(texts_)) node.fail("a text of the table is not valid UTF-8");
}

std::optional<std::string_view> PrecompiledMap::find(std::string_view text) const {
  if (trie_.empty()) return std::nullopt;
  uint32_t at = offset(trie_[0]);
  for (const char c : text) {
    if (c == '\0') break;
    at ^= static_cast<uint8_t>(c);
    if (at >= trie_.size() || label(trie_[at]) != static_cast<uint8_t>(c)) break;
    const uint32_t unit = trie_[at];
    at ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (at >= trie_.size() || value(trie_[at]) >= texts_.size()) break;
    const std::string_view rest = std::string_view(texts_).substr(value(trie_[at]));
    if ((rest[0] & 0xC0) == 0x80) break;  // begins inside a character
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string PrecompiledMap::normalize(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = cluster_end(text, begin);
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (cluster.size() <= kLongestCluster) {
      if (const auto found = find(cluster)) {
        out += *found;
        continue;
      }
    }
    for (size_t at = 0; at < cluster.size();) {
      const size_t next = at + utf8_length(cluster[at]);
      const std::string_view character = cluster.substr(at, next - at);
      out += find(character).value_or(character);
      at = next;
    }
  }
  return out;
}

}  // namespace batchmax::coordinator
