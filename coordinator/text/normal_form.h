// Unicode normalization (NFC, NFD, NFKC, NFKD) in time linear in the text, whatever the text: utf8proc's own
// utf8proc_map() orders runs of combining marks in quadratic time, so only its character tables are used
// here. Immutable after construction; any thread may normalize.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace batchmax::coordinator {

class NormalForm {
 public:
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd };
  // Reads utf8proc's tables once (a few milliseconds).
  explicit NormalForm(Kind kind);

  // True where normalize() is certain to change nothing; false may also mean that it does not know.
  bool is_normal(std::string_view valid_text) const;
  std::string normalize(std::string_view valid_text) const;

 private:
  void decompose(char32_t c, std::vector<char32_t>& out) const;
  void compose(std::vector<char32_t>& characters) const;

  bool composes_;
  bool compatibility_;
  std::vector<bool> unsettled_;  // by code point: may change or be changed by neighbours
  std::unordered_map<uint64_t, char32_t> composition_;  // (first << 32 | second) -> composite
};

}  // namespace batchmax::coordinator
