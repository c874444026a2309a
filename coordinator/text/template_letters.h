// Letters as Python's str methods see them. Characters that have several large ones are left as they are,
// except the sharp s; the last sigma of a word is as any other; isdigit is isdecimal. Pure functions over
// valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace batchmax::coordinator::jinja {

bool is_cased(char32_t c);

std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string capitalized(std::string_view text);  // the first character large, all others small
std::string titled(std::string_view text);       // str.title(): every run of letters
std::string swapped(std::string_view text);

// The part of the text between what is made of `chars` (empty: of space).
std::string_view stripped(std::string_view text, std::string_view chars, bool left, bool right);

// Python's str.is...(): every character has the property, and there is one. name: without "is".
bool has_property(std::string_view text, std::string_view name);

}  // namespace batchmax::coordinator::jinja
