// PCRE2 stands in for Oniguruma, which the Python package uses; regex_dialect translates.
// It runs compiled (JIT) on the machine's stack; a text that needs more gets one that may grow to 256 MiB,
// and then runs interpreted, on the heap, without a limit on matching steps: no input fails, and the patterns
// known to be used are linear.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "coordinator/text/pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

#include "coordinator/text/regex_dialect.h"
#include "coordinator/text/utf8.h"
#include "coordinator/text/word_scanner.h"

namespace batchmax::coordinator {

class Pattern::Engine {
 public:
  virtual ~Engine() = default;
  virtual void for_each(std::string_view text, const Part& part) const = 0;
};

class Pattern::LiteralEngine final : public Engine {
 public:
  explicit LiteralEngine(std::string literal) : literal_(std::move(literal)) {}

  void for_each(std::string_view text, const Part& part) const override {
    size_t end = 0;
    while (!literal_.empty()) {
      const size_t found = text.find(literal_, end);
      if (found == std::string_view::npos) break;
      if (found > end) part(end, found, false);
      end = found + literal_.size();
      part(found, end, true);
    }
    if (end < text.size()) part(end, text.size(), false);
  }

 private:
  std::string literal_;
};

class Pattern::ScannerEngine final : public Engine {
 public:
  explicit ScannerEngine(WordPattern pattern) : pattern_(pattern) {}

  void for_each(std::string_view text, const Part& part) const override {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = word_end(pattern_, text, begin);
      part(begin, end, true);
      begin = end;
    }
  }

 private:
  WordPattern pattern_;
};

namespace {

struct FreePcre2 {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};
template <typename T>
using Pcre2Pointer = std::unique_ptr<T, FreePcre2>;

// ^ and $ are Oniguruma's: at every line.
constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;

Pcre2Pointer<pcre2_code> compile(const std::string& regex, int& error, PCRE2_SIZE& offset) {
  return Pcre2Pointer<pcre2_code>(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
                                                kCompileOptions, &error, &offset, nullptr));
}

bool is_script(const std::string& name) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  return compile(R"(\p{sc:)" + name + "}", error, offset) != nullptr;
}

std::string pcre2_message(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

class Pattern::RegexEngine final : public Engine {
 public:
  RegexEngine(const std::string& regex, const JsonNode& node) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    const std::string translated = oniguruma_to_pcre2(regex, is_script);
    code_ = compile(translated, error, offset);
    if (!code_)
      node.fail(fmt::format("the regular expression {} does not compile at byte {}: {}", translated, offset,
                            pcre2_message(error)));
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where it cannot, patterns run interpreted
  }

  void for_each(std::string_view text, const Part& part) const override {
    constexpr size_t kStackStart = 64 << 10, kStackLimit = 256 << 20;
    const Pcre2Pointer<pcre2_match_data> data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    const Pcre2Pointer<pcre2_match_context> context(pcre2_match_context_create(nullptr));
    if (!data || !context) throw std::bad_alloc();
    Pcre2Pointer<pcre2_jit_stack> stack;  // many texts are single words: made only where it is needed
    constexpr auto kNoLimit = std::numeric_limits<uint32_t>::max();
    pcre2_set_match_limit(context.get(), kNoLimit);
    pcre2_set_depth_limit(context.get(), kNoLimit);
    pcre2_set_heap_limit(context.get(), kNoLimit);

    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t end = 0;  // of what has been given out
    bool behind_match = false;
    for (size_t at = 0; at <= text.size();) {
      const auto match = [&](uint32_t options) {
        return pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | options, data.get(),
                           context.get());
      };
      int result = match(0);
      if (result == PCRE2_ERROR_JIT_STACKLIMIT && !stack) {
        stack.reset(pcre2_jit_stack_create(kStackStart, kStackLimit, nullptr));
        if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
        result = match(0);
      }
      if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0)
        throw std::runtime_error("pre-tokenizer: the regular expression engine failed: " +
                                 pcre2_message(result));
      const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
      const size_t begin = span[0], match_end = std::max(span[0], span[1]);
      const bool empty = match_end == begin;
      if (!empty || begin > end || !behind_match) {  // an empty one right behind another match is none
        if (begin > end) part(end, begin, false);
        part(begin, match_end, true);
        end = match_end;
        behind_match = true;
      }
      if (begin == text.size()) break;
      at = empty ? begin + utf8_length(text[begin]) : match_end;
    }
    if (end < text.size()) part(end, text.size(), false);
  }

 private:
  Pcre2Pointer<pcre2_code> code_;
};

Pattern::Pattern(const JsonNode& node) {
  if (node.has("String")) {
    engine_ = std::make_unique<LiteralEngine>(node.at("String").as_string());
    return;
  }
  if (!node.has("Regex")) node.fail("expected a member Regex or String");
  const std::string regex = node.at("Regex").as_string();
  if (const auto known = known_word_pattern(regex)) {
    engine_ = std::make_unique<ScannerEngine>(*known);
  } else {
    engine_ = std::make_unique<RegexEngine>(regex, node.at("Regex"));
  }
}

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

void Pattern::for_each(std::string_view text, const Part& part) const { engine_->for_each(text, part); }

}  // namespace batchmax::coordinator
