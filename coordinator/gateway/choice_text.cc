#include "coordinator/gateway/choice_text.h"

namespace batchmax::coordinator {

ChoiceText::ChoiceText(const Tokenizer* tokenizer, const Rules& rules)
    : matcher_(rules.stop), unmatched_(rules.min_tokens) {
  if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, rules.skip_special_tokens, rules.behind_text);
}

std::string ChoiceText::add(int32_t id) {
  if (!detokenizer_) return {};
  if (unmatched_ > 0) {
    --unmatched_;
    return detokenizer_->add(id);
  }
  return matcher_.add(detokenizer_->add(id));
}

std::string ChoiceText::finish() {
  if (!detokenizer_ || stopped()) return {};
  std::string text = matcher_.add(detokenizer_->finish());
  if (!stopped()) text += matcher_.finish();
  return text;
}

}  // namespace batchmax::coordinator
