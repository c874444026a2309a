// UTF-8, the way this folder reads it: text is made valid once at the door, everything behind it relies on
// that. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace batchmax::coordinator {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands at the head of a byte string.
struct Utf8Head {
  uint32_t length;  // bytes of the character, or of the ill-formed piece that one U+FFFD replaces
  bool valid;
  bool truncated;  // not valid only because the text ends: more bytes could make it a character
};
// REQUIRES a non-empty text. The ill-formed piece is the longest prefix of some character (Unicode 15, 3.9,
// U+FFFD substitution of maximal subparts), at least one byte.
Utf8Head utf8_head(std::string_view text);

bool is_valid_utf8(std::string_view text);
// Every ill-formed piece replaced by one U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

// The character at text[at], which moves behind it. REQUIRES valid UTF-8 and at < size.
inline char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t lead = byte(at);
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    at += 2;
    return (lead & 0x1F) << 6 | (byte(at - 1) & 0x3F);
  }
  if (lead < 0xF0) {
    at += 3;
    return (lead & 0x0F) << 12 | (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F);
  }
  at += 4;
  return (lead & 0x07) << 18 | (byte(at - 3) & 0x3F) << 12 | (byte(at - 2) & 0x3F) << 6 |
         (byte(at - 1) & 0x3F);
}

// The start of the character that ends just before text[end]. REQUIRES valid UTF-8 and end > 0.
inline size_t previous_character(std::string_view text, size_t end) {
  do {
    --end;
  } while ((static_cast<uint8_t>(text[end]) & 0xC0) == 0x80);
  return end;
}

// Bytes of the character that begins with this byte. REQUIRES the lead byte of a valid character.
inline size_t utf8_length(char lead_byte) {
  const auto lead = static_cast<uint8_t>(lead_byte);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

void append_utf8(std::string& out, char32_t code_point);

size_t count_code_points(std::string_view valid_text);
// Characters first to last - 1, as far as the text has them.
std::string_view substring(std::string_view valid_text, size_t first, size_t last);

}  // namespace batchmax::coordinator
