#include "coordinator/text/regex_dialect.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

// Contents of sets. PCRE2's own \w knows no marks, its \s has U+180E. In Oniguruma six digits and fractions
// of Latin-1 are parts of words too, yet only where \w stands outside of a set.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kWordAlone = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe)";
constexpr std::string_view kSpace =
    R"(\t-\r\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kHexadecimal = "0-9a-fA-F";

constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
    {"Letter", "L"}, {"Mark", "M"},   {"Number", "N"},    {"Punctuation", "P"},
    {"Punct", "P"},  {"Symbol", "S"}, {"Separator", "Z"}, {"Other", "C"}};

// A set between brackets: the intersection of its operands, each a union of plain contents and other sets.
struct Operand {
  std::string contents;
  std::vector<std::string> others;  // each matches one character

  std::string text() const {
    std::string united = contents.empty() ? std::string() : "[" + contents + "]";
    if (others.empty()) return united.empty() ? "(?!)" : united;
    for (const std::string& other : others) united += (united.empty() ? "" : "|") + other;
    return "(?:" + united + ")";
  }
};
struct Set {
  bool negated = false;
  std::vector<Operand> operands{1};

  bool plain() const { return operands.size() == 1 && operands[0].others.empty(); }
  std::string text() const {
    if (plain() && negated && !operands[0].contents.empty()) return "[^" + operands[0].contents + "]";
    std::string all = operands[0].text();
    if (operands.size() > 1) {
      std::string also = "(?:";
      for (size_t i = 1; i < operands.size(); ++i) also += "(?=" + operands[i].text() + ")";
      all = also + all + ")";
    }
    return negated ? "(?:(?!" + all + R"()\p{Any}))" : all;
  }
};

class Translator {
 public:
  Translator(std::string_view regex, const std::function<bool(const std::string&)>& is_script)
      : regex_(regex), is_script_(is_script) {}

  std::string run() {
    while (at_ < regex_.size()) {
      if (next_is('{') && interval()) continue;
      const char c = regex_[at_];
      if (c == '*' || c == '+' || c == '?') {
        out_ += regex_[at_++];
        continue;
      }
      if (c == ')') {
        atom_ = groups_.empty() ? out_.size() : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        out_ += regex_[at_++];
        continue;
      }
      atom_ = out_.size();
      if (c == '(') groups_.push_back(atom_);
      if (c == '[') {
        out_ += set(0);
      } else if (c == '\\') {
        out_ += escape();
      } else {
        out_ += character();
      }
    }
    return std::move(out_);
  }

 private:
  static constexpr int kDeepest = 32;

  bool next_is(char c) const { return at_ < regex_.size() && regex_[at_] == c; }
  bool next_is(std::string_view text) const { return regex_.substr(at_).starts_with(text); }

  std::string character() {
    const size_t length = std::min(utf8_length(regex_[at_]), regex_.size() - at_);
    at_ += length;
    return std::string(regex_.substr(at_ - length, length));
  }

  // {n}, {n,}, {n,m} and {,m}. A + behind it repeats the whole; in PCRE2 it would make it possessive.
  bool interval() {
    size_t end = at_ + 1;
    const auto digits = [&] {
      const size_t begin = end;
      while (end < regex_.size() && regex_[end] >= '0' && regex_[end] <= '9') ++end;
      return std::string(regex_.substr(begin, end - begin));
    };
    const std::string least = digits();
    std::string rest;
    if (end < regex_.size() && regex_[end] == ',') {
      ++end;
      rest = "," + digits();
    }
    if (end >= regex_.size() || regex_[end] != '}' || (least.empty() && rest.size() < 2)) return false;
    out_ += "{" + (least.empty() ? "0" : least) + rest + "}";
    at_ = end + 1;
    if (next_is('+')) {
      out_.insert(atom_, "(?:");
      out_ += ")";
    }
    return true;
  }

  // Behind a backslash, outside of sets.
  std::string escape() {
    const std::string_view pair = regex_.substr(at_, 2);
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kClasses{
        {{"wW", kWordAlone}, {"sS", kSpace}, {"hH", kHexadecimal}}};
    for (const auto& [letters, contents] : kClasses) {
      if (pair.size() < 2 || letters.find(pair[1]) == std::string_view::npos) continue;
      at_ += 2;
      return (pair[1] == letters[0] ? "[" : "[^") + std::string(contents) + "]";
    }
    return common_escape();
  }

  std::string common_escape() {
    if (next_is("\\p{") || next_is("\\P{")) return property();
    if (next_is("\\u") && at_ + 6 <= regex_.size()) {
      at_ += 6;
      return R"(\x{)" + std::string(regex_.substr(at_ - 4, 4)) + "}";
    }
    ++at_;
    return at_ < regex_.size() ? "\\" + character() : "\\";
  }

  // Scripts by the script itself, where PCRE2 takes a plain name for "used with that script".
  std::string property() {
    const size_t end = regex_.find('}', at_);
    if (end == std::string_view::npos) return std::string(regex_.substr(std::exchange(at_, regex_.size())));
    std::string text(regex_.substr(at_, 3));
    std::string name(regex_.substr(at_ + 3, end - at_ - 3));
    at_ = end + 1;
    if (name.starts_with('^')) {
      text += '^';
      name.erase(0, 1);
    }
    for (const auto& [written, known] : kLongNames) {
      if (name == written) name = known;
    }
    return text + (is_script_(name) ? "sc:" : "") + name + "}";
  }

  // From its opening bracket to behind the closing one.
  std::string set(int depth) { return read_set(depth).text(); }

  Set read_set(int depth) {
    Set set;
    ++at_;
    if (next_is('^')) {
      set.negated = true;
      ++at_;
    }
    for (bool first = true; at_ < regex_.size() && (first || !next_is(']')); first = false) {
      Operand& operand = set.operands.back();
      if (next_is("&&")) {
        at_ += 2;
        set.operands.emplace_back();
      } else if (next_is("[:") && regex_.find(":]", at_) != std::string_view::npos) {
        operand.contents += posix_class();
      } else if (next_is('[') && depth < kDeepest) {
        add(operand, read_set(depth + 1));
      } else if (next_is('\\')) {
        add_escape(operand);
      } else {
        if (next_is(']') || next_is('^')) operand.contents += '\\';
        operand.contents += character();
      }
    }
    ++at_;
    return set;
  }

  static void add(Operand& operand, const Set& other) {
    if (other.plain() && !other.negated) {
      operand.contents += other.operands[0].contents;
    } else {
      operand.others.push_back(other.text());
    }
  }

  std::string posix_class() {
    const size_t end = regex_.find(":]", at_) + 2;
    const std::string_view name = regex_.substr(at_, end - at_);
    at_ = end;
    if (name == "[:alpha:]") return R"(\p{Alphabetic})";
    if (name == "[:alnum:]") return R"(\p{Alphabetic}\p{Nd})";
    if (name == "[:space:]") return std::string(kSpace);
    if (name == "[:word:]") return std::string(kWord);
    return std::string(name);
  }

  void add_escape(Operand& operand) {
    if (next_is("\\S")) {  // often within sets, so not as a set of its own
      operand.contents += R"(\S\x{180e})";
      at_ += 2;
    } else if (next_is("\\w") || next_is("\\s") || next_is("\\h")) {
      operand.contents += next_is("\\w") ? kWord : next_is("\\s") ? kSpace : kHexadecimal;
      at_ += 2;
    } else if (next_is("\\W") || next_is("\\H")) {
      operand.others.push_back("[^" + std::string(next_is("\\W") ? kWord : kHexadecimal) + "]");
      at_ += 2;
    } else {
      operand.contents += common_escape();
    }
  }

  std::string_view regex_;
  const std::function<bool(const std::string&)>& is_script_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where in out_ the last thing begins that can be repeated
  std::vector<size_t> groups_;  // where the open groups begin
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view regex,
                               const std::function<bool(const std::string&)>& is_script) {
  return Translator(regex, is_script).run();
}

}  // namespace batchmax::coordinator
