#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {

Utf8Head utf8_head(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {1, true, false};
  uint32_t length = 0;
  uint8_t low = 0x80, high = 0xBF;  // what the second byte may be (Unicode 15, table 3-7)
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;  // no surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  } else {
    return {1, false, false};
  }
  for (uint32_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, false, true};
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < low || byte > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Head head = utf8_head(text);
    if (!head.valid) return false;
    text.remove_prefix(head.length);
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Head head = utf8_head(text);
    out += head.valid ? text.substr(0, head.length) : kReplacementCharacter;
    text.remove_prefix(head.length);
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t count_code_points(std::string_view valid_text) {
  size_t count = 0;
  for (const char byte : valid_text) count += (static_cast<uint8_t>(byte) & 0xC0) != 0x80;
  return count;
}

std::string_view substring(std::string_view valid_text, size_t first, size_t last) {
  size_t at = 0, index = 0;
  while (index < first && at < valid_text.size()) {
    at += utf8_length(valid_text[at]);
    ++index;
  }
  const size_t begin = at;
  while (index < last && at < valid_text.size()) {
    at += utf8_length(valid_text[at]);
    ++index;
  }
  return valid_text.substr(begin, at - begin);
}

}  // namespace batchmax::coordinator
