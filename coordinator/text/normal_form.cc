// The algorithm is that of Unicode Standard Annex 15: decompose, order marks by combining class, compose.
#include "coordinator/text/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

// No character from here on has a decomposition or composes: private use, tags, variation selectors.
constexpr char32_t kEndOfTable = 0x30000;
constexpr char32_t kFirstUnsettled = 0xA0;  // below: ASCII and C1 controls, the same in all four forms

uint16_t combining_class(char32_t c) {
  return static_cast<uint16_t>(utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class);
}

}  // namespace

NormalForm::NormalForm(Kind kind)
    : composes_(kind == Kind::kNfc || kind == Kind::kNfkc),
      compatibility_(kind == Kind::kNfkc || kind == Kind::kNfkd),
      unsettled_(kEndOfTable, false) {
  std::vector<char32_t> parts;
  for (char32_t c = kFirstUnsettled; c < kEndOfTable; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    parts.clear();
    decompose(c, parts);
    const bool decomposes = parts.size() != 1 || parts[0] != c;
    if (combining_class(c) != 0) unsettled_[c] = true;
    if (!decomposes) continue;
    if (!composes_) {
      unsettled_[c] = true;
      continue;
    }
    // Does utf8proc put the canonical parts together again? Then the last part and what the others make
    // compose.
    std::array<utf8proc_int32_t, 16> canonical{};
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), canonical.data(),
                                               static_cast<utf8proc_ssize_t>(canonical.size()),
                                               UTF8PROC_DECOMPOSE, &boundary);
    auto recomposed = canonical;
    const auto left = utf8proc_normalize_utf32(
        recomposed.data(), count, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    const bool composite = count >= 2 && left == 1 && recomposed[0] == static_cast<utf8proc_int32_t>(c);
    // A syllable or a composite is settled in NFC; in NFKC too, unless it has a compatibility part.
    unsettled_[c] = !composite || static_cast<size_t>(count) != parts.size() ||
                    !std::equal(parts.begin(), parts.end(), canonical.begin(),
                                [](char32_t a, utf8proc_int32_t b) { return a == static_cast<char32_t>(b); });
    if (!composite) continue;
    const auto last = static_cast<char32_t>(canonical[static_cast<size_t>(count - 1)]);
    auto first = canonical;
    const auto one = utf8proc_normalize_utf32(
        first.data(), count - 1, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (one != 1) throw std::logic_error("utf8proc: the beginning of a composite does not compose");
    composition_[static_cast<uint64_t>(first[0]) << 32 | last] = c;
    unsettled_[last] = true;
  }
}

bool NormalForm::is_normal(std::string_view text) const {
  for (size_t at = 0; at < text.size();) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const char32_t c = next_code_point(text, at);
    if (c < kEndOfTable ? unsettled_[c] : combining_class(c) != 0) return false;
  }
  return true;
}

void NormalForm::decompose(char32_t c, std::vector<char32_t>& out) const {
  if (c < kFirstUnsettled) {
    out.push_back(c);
    return;
  }
  std::array<utf8proc_int32_t, 32> parts{};  // the longest decomposition has 18 characters (U+FDFA)
  int boundary = 0;
  const int options = UTF8PROC_DECOMPOSE | (compatibility_ ? UTF8PROC_COMPAT : 0);
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                             static_cast<utf8proc_ssize_t>(parts.size()),
                                             static_cast<utf8proc_option_t>(options), &boundary);
  if (count <= 0) {  // not assigned: stays
    out.push_back(c);
    return;
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    out.push_back(static_cast<char32_t>(parts[static_cast<size_t>(i)]));
}

void NormalForm::compose(std::vector<char32_t>& characters) const {
  size_t kept = 0;
  size_t starter = 0;
  bool have_starter = false;
  int last_class = -1;  // of the last mark kept behind the starter; -1: none
  for (const char32_t c : characters) {
    const int its_class = combining_class(c);
    if (have_starter && last_class < its_class) {
      const auto composite = composition_.find(static_cast<uint64_t>(characters[starter]) << 32 | c);
      if (composite != composition_.end()) {
        characters[starter] = composite->second;
        continue;
      }
    }
    if (its_class == 0) {
      starter = kept;
      have_starter = true;
      last_class = -1;
    } else {
      last_class = its_class;
    }
    characters[kept++] = c;
  }
  characters.resize(kept);
}

std::string NormalForm::normalize(std::string_view text) const {
  std::vector<char32_t> characters;
  characters.reserve(text.size());
  for (size_t at = 0; at < text.size();) decompose(next_code_point(text, at), characters);
  for (auto mark = characters.begin(); mark != characters.end();) {
    if (combining_class(*mark) == 0) {
      ++mark;
      continue;
    }
    const auto end = std::find_if(mark, characters.end(), [](char32_t c) { return combining_class(c) == 0; });
    std::stable_sort(mark, end,
                     [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    mark = end;
  }
  if (composes_) compose(characters);
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : characters) append_utf8(out, c);
  return out;
}

}  // namespace batchmax::coordinator
