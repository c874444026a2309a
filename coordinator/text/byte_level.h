// The byte-level alphabet: every byte has a printable character that stands for it in the vocabulary (the
// idea is GPT-2's). Printable Latin-1 stands for itself, the other 68 bytes for U+0100 upward in byte order.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace batchmax::coordinator {

char32_t byte_to_character(uint8_t byte);
// The byte that a character stands for, -1 for none.
int character_to_byte(char32_t character);

// Each byte replaced by its character.
std::string bytes_to_characters(std::string_view bytes);
// The way back. False, and `bytes` untouched, where a character stands for no byte. REQUIRES valid UTF-8.
bool characters_to_bytes(std::string_view characters, std::string& bytes);

}  // namespace batchmax::coordinator
