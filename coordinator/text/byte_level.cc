#include "coordinator/text/byte_level.h"

#include <array>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

constexpr char32_t kFirstSubstitute = 0x100;
constexpr char32_t kCharacters = 0x144;  // one past the last of the 68 substitutes

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kCharacters> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  char32_t substitute = kFirstSubstitute;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = stands_for_itself(byte) ? static_cast<char32_t>(byte) : substitute++;
    alphabet.character[static_cast<size_t>(byte)] = c;
    alphabet.byte[c] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t byte_to_character(uint8_t byte) { return kAlphabet.character[byte]; }

int character_to_byte(char32_t character) { return character < kCharacters ? kAlphabet.byte[character] : -1; }

std::string bytes_to_characters(std::string_view bytes) {
  std::string characters;
  characters.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_utf8(characters, byte_to_character(static_cast<uint8_t>(byte)));
  return characters;
}

bool characters_to_bytes(std::string_view characters, std::string& bytes) {
  std::string out;
  for (size_t at = 0; at < characters.size();) {
    const int byte = character_to_byte(next_code_point(characters, at));
    if (byte < 0) return false;
    out.push_back(static_cast<char>(byte));
  }
  bytes = std::move(out);
  return true;
}

}  // namespace batchmax::coordinator
