#include "coordinator/gateway/choice_text.h"

namespace batchmax::coordinator {

ChoiceText::ChoiceText(const Tokenizer* tokenizer, const std::vector<std::string>& stop) : matcher_(stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, true);
}

std::string ChoiceText::add(int32_t id) {
  if (!detokenizer_) return {};
  return matcher_.add(detokenizer_->add(id));
}

std::string ChoiceText::finish() {
  if (!detokenizer_ || stopped()) return {};
  std::string text = matcher_.add(detokenizer_->finish());
  if (!stopped()) text += matcher_.finish();
  return text;
}

}  // namespace batchmax::coordinator
