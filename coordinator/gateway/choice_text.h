// One choice's tokens as text: detokenized, cut at the first stop string, and only ever what is certain. One
// thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/text/stop_matcher.h"
#include "coordinator/text/tokenizer.h"

namespace batchmax::coordinator {

class ChoiceText {
 public:
  // tokenizer: null where the model has none; then the text is empty. Must outlive this.
  ChoiceText(const Tokenizer* tokenizer, const std::vector<std::string>& stop);

  // Text that may be sent now.
  std::string add(int32_t id);
  // A stop string was found: nothing follows.
  bool stopped() const { return matcher_.stopped(); }
  // What was held back, at the end of the tokens.
  std::string finish();

 private:
  std::optional<StreamDetokenizer> detokenizer_;
  StopMatcher matcher_;
};

}  // namespace batchmax::coordinator
