// Hand-written scanners for the two pre-tokenizer patterns that most models use. Each cuts a text exactly as
// the regular expression would and reads every character a bounded number of times, whatever the text. Pure
// functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace batchmax::coordinator {

enum class WordPattern {
  kGpt2,    // kGpt2Pattern
  kLlama3,  // digits in groups of up to three
  kQwen2,   // the same with every digit alone
};

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The scanner that equals this regular expression, if there is one.
std::optional<WordPattern> known_word_pattern(std::string_view regex);

// Where the word that begins at text[begin] ends. REQUIRES valid UTF-8 and begin < size. The patterns match
// at every position, so words follow each other without gaps.
size_t word_end(WordPattern pattern, std::string_view text, size_t begin);

}  // namespace batchmax::coordinator
