#include "coordinator/text/bpe_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "coordinator/text/byte_level.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};
constexpr uint64_t kGolden =
    0x9E3779B97F4A7C15;  // 2^64 / golden ratio: spreads consecutive keys (Knuth, 6.4)

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, which stands for a space

// Where the part that begins at text[begin] ends: at a mark behind another character.
size_t part_end(std::string_view text, size_t begin) {
  while (text.substr(begin).starts_with(kMark)) begin += kMark.size();
  return std::min(text.find(kMark, begin), text.size());
}

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Short words with few ids, direct mapped: a collision overwrites, so memory is fixed and nothing is ever
// evicted in bulk.
class WordCache {
 public:
  struct Slot {
    std::array<char, 28> word;
    uint8_t word_size = 0;
    uint8_t id_count = 0;
    bool bytes = false;
    std::array<int32_t, 8> ids;
  };
  explicit WordCache(size_t slots) : slots_(slots) {}

  // Null where the word is too long to be cached.
  Slot* slot(std::string_view word) {
    if (slots_.empty() || word.size() > Slot{}.word.size()) return nullptr;
    uint64_t hash = word.size();
    while (word.size() >= 8) {
      uint64_t part;
      std::memcpy(&part, word.data(), 8);
      hash = (hash ^ part) * kGolden;
      hash ^= hash >> 32;
      word.remove_prefix(8);
    }
    uint64_t part = 0;
    std::memcpy(&part, word.data(), word.size());
    hash = (hash ^ part) * kGolden;
    return &slots_[(hash >> 32) & (slots_.size() - 1)];
  }
  static bool holds(const Slot& slot, std::string_view word, bool bytes) {
    return slot.word_size == word.size() && slot.bytes == bytes &&
           std::memcmp(slot.word.data(), word.data(), word.size()) == 0;
  }

 private:
  std::vector<Slot> slots_;
};

struct Symbol {
  int32_t id;  // -1: merged away
  int32_t previous;
  int32_t next;
};

struct Candidate {
  uint64_t order;  // rank << 32 | position
  int32_t merged;
  bool operator<(const Candidate& other) const {
    return order > other.order;
  }  // std heaps keep the largest on top
};

}  // namespace

class BpeModel::BpeScratch final : public Scratch {
 public:
  explicit BpeScratch(size_t text_size)
      : cache(text_size < 256 ? 0 : std::bit_ceil(std::min<size_t>(text_size / 16, 8192))) {}
  WordCache cache;
  std::vector<int32_t> ids;  // of the word before merging
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

BpeModel::BpeModel(const JsonNode& node)
    : vocabulary_(Vocabulary::from_object(node.at("vocab"))),
      prefix_(node.string_or("continuing_subword_prefix", "")),
      suffix_(node.string_or("end_of_word_suffix", "")),
      fuse_unknown_(node.bool_or("fuse_unk", false)),
      byte_fallback_(node.bool_or("byte_fallback", false)),
      ignore_merges_(node.bool_or("ignore_merges", false)) {
  if (node.has("dropout") && node.at("dropout").as_number() != 0)
    node.at("dropout").fail("expected null or 0: ids would be random");
  if (node.has("unk_token")) {
    const std::string token = node.at("unk_token").as_string();
    unknown_ = vocabulary_.find(token);
    if (unknown_ < 0) node.at("unk_token").fail("the vocabulary has no token " + token);
  }
  parts_at_mark_ = prefix_.empty() && suffix_.empty() && !ignore_merges_ && vocabulary_.find(kMark) >= 0;
  read_merges(node.at("merges"));

  bool every_byte = true;
  for (int byte = 0; byte < 256; ++byte) {
    const auto i = static_cast<size_t>(byte);
    fallback_[i] = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
    const char raw = static_cast<char>(byte);
    byte_symbol_[i] = vocabulary_.find(bytes_to_characters({&raw, 1}));
    every_byte &= byte_symbol_[i] >= 0;
  }
  bytes_need_characters_ =
      !prefix_.empty() || !suffix_.empty() || (!every_byte && (unknown_ >= 0 || byte_fallback_));
  if (ignore_merges_) {
    const auto& tokens = vocabulary_.tokens();
    for (size_t id = 0; id < tokens.size(); ++id) {
      std::string bytes;
      if (!tokens[id].empty() && characters_to_bytes(tokens[id], bytes))
        whole_words_.emplace(bytes, static_cast<int32_t>(id));
    }
  }
}

void BpeModel::read_merges(const JsonNode& node) {
  const auto& list = node.as_array();
  const size_t slots = std::bit_ceil(std::max<size_t>(list.size() * 2, 16));
  merges_.assign(slots, Merge{kNoPair, 0, 0});
  merge_shift_ = static_cast<uint32_t>(64 - std::countr_zero(slots));
  std::string joined;
  for (size_t rank = 0; rank < list.size(); ++rank) {
    const auto refuse = [&](const std::string& reason) {
      node.fail(fmt::format("merge {}: {}", rank, reason));
    };
    std::string_view left, right;
    if (const auto* text = list[rank].if_string()) {
      const std::string_view both(text->data(), text->size());
      const size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos)
        refuse("expected two tokens with one space between them");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      const auto* pair = list[rank].if_array();
      if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
        refuse("expected a string or a pair of strings");
      left = (*pair)[0].get_string();
      right = (*pair)[1].get_string();
    }
    if (!right.starts_with(prefix_))
      refuse(fmt::format("{} does not begin with the continuing prefix", right));
    joined = left;
    joined += right.substr(prefix_.size());
    const int32_t left_id = vocabulary_.find(left), right_id = vocabulary_.find(right),
                  merged = vocabulary_.find(joined);
    if (left_id < 0 || right_id < 0 || merged < 0)
      refuse(fmt::format("the vocabulary has no token {}", left_id < 0    ? left
                                                           : right_id < 0 ? right
                                                                          : joined));
    if (right.starts_with(kMark) && !left.ends_with(kMark)) parts_at_mark_ = false;
    add_merge(pair_of(left_id, right_id), static_cast<uint32_t>(rank), merged);
  }
}

void BpeModel::add_merge(uint64_t pair, uint32_t rank, int32_t merged) {
  size_t slot = (pair * kGolden) >> merge_shift_;
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair)
    slot = (slot + 1) & (merges_.size() - 1);
  merges_[slot] = {pair, rank, merged};  // a pair listed twice keeps its last rank, as in the Python package
}

const BpeModel::Merge* BpeModel::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t slot = (pair * kGolden) >> merge_shift_;
  while (merges_[slot].pair != pair) {
    if (merges_[slot].pair == kNoPair) return nullptr;
    slot = (slot + 1) & (merges_.size() - 1);
  }
  return &merges_[slot];
}

std::unique_ptr<Model::Scratch> BpeModel::make_scratch(size_t text_size) const {
  return std::make_unique<BpeScratch>(text_size);
}

void BpeModel::append_symbols(std::string_view characters, std::vector<int32_t>& symbols) const {
  bool pending_unknown = false;
  const auto flush = [&] {
    if (pending_unknown) symbols.push_back(unknown_);
    pending_unknown = false;
  };
  std::string decorated;
  for (size_t at = 0; at < characters.size();) {
    const size_t length = utf8_length(characters[at]);
    std::string_view symbol = characters.substr(at, length);
    const bool first = at == 0, last = at + length == characters.size();
    at += length;
    if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
      decorated = first ? std::string(symbol) : prefix_ + std::string(symbol);
      if (last) decorated += suffix_;
      symbol = decorated;
    }
    if (const int32_t id = vocabulary_.find(symbol); id >= 0) {
      flush();
      symbols.push_back(id);
      continue;
    }
    const auto has_byte = [&](char byte) { return fallback_[static_cast<uint8_t>(byte)] >= 0; };
    if (byte_fallback_ && std::all_of(symbol.begin(), symbol.end(), has_byte)) {
      // An unknown before these bytes stays pending and comes out behind them: so does the Python package.
      for (const char byte : symbol) symbols.push_back(fallback_[static_cast<uint8_t>(byte)]);
      continue;
    }
    if (unknown_ < 0) continue;  // no token and no unknown token: the character is dropped
    if (!fuse_unknown_) flush();
    pending_unknown = true;
  }
  flush();
}

void BpeModel::append_byte_symbols(std::string_view bytes, std::vector<int32_t>& symbols) const {
  for (const char byte : bytes) {
    const int32_t id = byte_symbol_[static_cast<uint8_t>(byte)];
    if (id >= 0) symbols.push_back(id);
  }
}

void BpeModel::merge_all(BpeScratch& scratch, std::vector<int32_t>& ids) const {
  const auto count = static_cast<int32_t>(scratch.ids.size());
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.resize(scratch.ids.size());
  for (int32_t i = 0; i < count; ++i)
    symbols[static_cast<size_t>(i)] = {scratch.ids[static_cast<size_t>(i)], i - 1,
                                       i + 1 < count ? i + 1 : -1};
  const auto symbol = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto candidate = [&](int32_t left, int32_t right) {
    ++scratch.steps;
    const Merge* merge = find_merge(symbol(left).id, symbol(right).id);
    if (merge == nullptr) return false;
    heap.push_back({static_cast<uint64_t>(merge->rank) << 32 | static_cast<uint32_t>(left), merge->merged});
    return true;
  };
  heap.clear();
  for (int32_t i = 0; i + 1 < count; ++i) candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    ++scratch.steps;
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    const auto position = static_cast<int32_t>(best.order & 0xFFFFFFFF);
    Symbol& left = symbol(position);
    if (left.id < 0 || left.next < 0) continue;
    const int32_t right_position = left.next;
    Symbol& right = symbol(right_position);
    // Outdated unless the pair that stands here now still merges into the same token.
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->merged != best.merged) continue;
    left.id = best.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbol(left.next).previous = position;
    if (left.previous >= 0 && candidate(left.previous, position)) std::push_heap(heap.begin(), heap.end());
    if (left.next >= 0 && candidate(position, left.next)) std::push_heap(heap.begin(), heap.end());
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbol(i).next) ids.push_back(symbol(i).id);
}

void BpeModel::tokenize(std::string_view word, bool bytes, Scratch& scratch,
                        std::vector<int32_t>& ids) const {
  if (bytes && bytes_need_characters_) return tokenize(bytes_to_characters(word), false, scratch, ids);
  auto& own = static_cast<BpeScratch&>(scratch);
  if (bytes || !parts_at_mark_) return tokenize_part(word, bytes, own, ids);
  for (size_t begin = 0; begin < word.size();) {
    const size_t end = part_end(word, begin);
    tokenize_part(word.substr(begin, end - begin), false, own, ids);
    begin = end;
  }
}

void BpeModel::tokenize_part(std::string_view word, bool bytes, BpeScratch& own,
                             std::vector<int32_t>& ids) const {
  WordCache::Slot* slot = own.cache.slot(word);
  if (slot != nullptr && WordCache::holds(*slot, word, bytes)) {
    ++own.steps;
    ids.insert(ids.end(), slot->ids.begin(), slot->ids.begin() + slot->id_count);
    return;
  }
  const size_t before = ids.size();
  int32_t whole = -1;
  if (ignore_merges_) {
    if (!bytes) {
      whole = vocabulary_.find(word);
    } else if (const auto found = whole_words_.find(std::string(word)); found != whole_words_.end()) {
      whole = found->second;
    }
  }
  if (whole >= 0) {
    ids.push_back(whole);
  } else {
    own.ids.clear();
    bytes ? append_byte_symbols(word, own.ids) : append_symbols(word, own.ids);
    merge_all(own, ids);
  }
  const size_t count = ids.size() - before;
  if (slot == nullptr || count > slot->ids.size()) return;
  std::copy(word.begin(), word.end(), slot->word.begin());
  slot->word_size = static_cast<uint8_t>(word.size());
  slot->bytes = bytes;
  slot->id_count = static_cast<uint8_t>(count);
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), slot->ids.begin());
}

}  // namespace batchmax::coordinator
