#include "coordinator/text/unicode_class.h"

#include <algorithm>
#include <array>
#include <span>

#include "coordinator/text/unicode_ranges.h"

namespace batchmax::coordinator {
namespace {

constexpr bool contains(std::span<const CodePointRange> ranges, char32_t c) {
  size_t low = 0, high = ranges.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (ranges[middle].last < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < ranges.size() && ranges[low].first <= c;
}

constexpr CharacterClass search(char32_t c) {
  if (contains(kLetterRanges, c)) return CharacterClass::kLetter;
  if (contains(kSpaceRanges, c)) return CharacterClass::kSpace;
  if (contains(kNumberRanges, c)) return CharacterClass::kNumber;
  return CharacterClass::kOther;
}

// Most text lies below U+0800 (one or two bytes of UTF-8): a table, the rest is searched.
constexpr char32_t kTableSize = 0x800;
constexpr std::array<CharacterClass, kTableSize> make_table() {
  std::array<CharacterClass, kTableSize> table{};
  for (char32_t c = 0; c < kTableSize; ++c) table[c] = search(c);
  return table;
}
constexpr auto kTable = make_table();

}  // namespace

CharacterClass character_class(char32_t c) { return c < kTableSize ? kTable[c] : search(c); }

bool is_word_character(char32_t c) { return contains(kWordRanges, c); }
bool is_punctuation(char32_t c) { return contains(kPunctuationRanges, c); }
bool is_accent(char32_t c) { return contains(kAccentRanges, c); }

}  // namespace batchmax::coordinator
