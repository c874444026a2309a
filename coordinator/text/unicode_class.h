// Character classes as the regular expressions of tokenizer.json files mean them. Pure functions.
#pragma once

#include <cstdint>

namespace batchmax::coordinator {

enum class CharacterClass : uint8_t { kOther, kLetter, kNumber, kSpace };

// \p{L}, \p{N}, \s of Unicode; the three do not overlap.
CharacterClass character_class(char32_t c);
// \w of Unicode: what counts as part of a word beside an added token with single_word.
bool is_word_character(char32_t c);

// What the pre-tokenizer Punctuation isolates: ASCII's, and \p{P} of an older Unicode.
bool is_punctuation(char32_t c);
// The marks that the normalizer StripAccents takes away.
bool is_accent(char32_t c);

inline bool is_space(char32_t c) { return character_class(c) == CharacterClass::kSpace; }

}  // namespace batchmax::coordinator
