#include "coordinator/text/word_scanner.h"

#include "coordinator/text/unicode_class.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

using enum CharacterClass;

// End of the run of one class that begins at `at`.
size_t run_end(std::string_view text, size_t at, CharacterClass wanted) {
  while (at < text.size()) {
    size_t next = at;
    if (character_class(next_code_point(text, next)) != wanted) break;
    at = next;
  }
  return at;
}

bool is_line_break(char c) { return c == '\r' || c == '\n'; }

// End of the contraction ('s 't 're 've 'm 'll 'd) at the apostrophe text[begin]; begin where there is none.
size_t contraction_end(std::string_view text, size_t begin, bool any_case) {
  const std::string_view rest = text.substr(begin + 1);
  const auto letter = [&](size_t i) -> char {
    if (i >= rest.size()) return '\0';
    const char c = rest[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(0), second = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return begin + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return begin + 3;
  if (first == 'l' && second == 'l') return begin + 3;
  // Without case U+017F, the long s, is an s too.
  if (any_case && rest.starts_with("\xC5\xBF")) return begin + 3;
  return begin;
}

// \s+(?!\S)|\s+ : a run of white space gives its last character to the word behind it.
size_t space_end(std::string_view text, size_t begin, size_t run) {
  if (run == text.size()) return run;
  const size_t last = previous_character(text, run);
  return last > begin ? last : run;
}

size_t gpt2_word_end(std::string_view text, size_t begin) {
  if (text[begin] == '\'') {
    const size_t end = contraction_end(text, begin, false);
    if (end != begin) return end;
  }
  size_t first = begin + (text[begin] == ' ');
  if (first < text.size()) {
    size_t next = first;
    const CharacterClass found = character_class(next_code_point(text, next));
    if (found != kSpace) return run_end(text, next, found);
  }
  return space_end(text, begin, run_end(text, begin, kSpace));
}

size_t llama3_word_end(std::string_view text, size_t begin, int digits) {
  if (text[begin] == '\'') {
    const size_t end = contraction_end(text, begin, true);
    if (end != begin) return end;
  }
  size_t next = begin;
  const CharacterClass first = character_class(next_code_point(text, next));
  if (first == kLetter) return run_end(text, next, kLetter);
  if (first == kNumber) {
    for (int i = 1; i < digits && next < text.size(); ++i) {
      size_t after = next;
      if (character_class(next_code_point(text, after)) != kNumber) break;
      next = after;
    }
    return next;
  }
  // [^\r\n\p{L}\p{N}]?\p{L}+ : one character of another kind may lead a run of letters.
  if (!is_line_break(text[begin])) {
    const size_t end = run_end(text, next, kLetter);
    if (end != next) return end;
  }
  //  ?[^\s\p{L}\p{N}]+[\r\n]*
  const size_t symbols = first == kSpace && text[begin] == ' ' ? next : begin;
  size_t end = run_end(text, symbols, kOther);
  if (end != symbols) {
    while (end < text.size() && is_line_break(text[end])) ++end;
    return end;
  }
  // \s*[\r\n]+ : up to the last line break of the run.
  const size_t run = run_end(text, begin, kSpace);
  const size_t line_break = text.substr(begin, run - begin).find_last_of("\r\n");
  if (line_break != std::string_view::npos) return begin + line_break + 1;
  return space_end(text, begin, run);
}

}  // namespace

std::optional<WordPattern> known_word_pattern(std::string_view regex) {
  if (regex == kGpt2Pattern) return WordPattern::kGpt2;
  if (regex == kLlama3Pattern) return WordPattern::kLlama3;
  if (regex == kQwen2Pattern) return WordPattern::kQwen2;
  return std::nullopt;
}

size_t word_end(WordPattern pattern, std::string_view text, size_t begin) {
  switch (pattern) {
    case WordPattern::kGpt2:
      return gpt2_word_end(text, begin);
    case WordPattern::kLlama3:
      return llama3_word_end(text, begin, 3);
    case WordPattern::kQwen2:
      return llama3_word_end(text, begin, 1);
  }
  return text.size();
}

}  // namespace batchmax::coordinator
