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
  struct Rules {
    std::vector<std::string> stop;
    bool skip_special_tokens = true;
    int32_t min_tokens = 0;    // stop strings count behind that many tokens
    bool behind_text = false;  // the prompt has text
  };
  // tokenizer: null where the model has none; then the text is empty. Must outlive this.
  ChoiceText(const Tokenizer* tokenizer, const Rules& rules);

  // Text that may be sent now.
  std::string add(int32_t id);
  // A stop string was found: nothing follows.
  bool stopped() const { return matcher_.stopped(); }
  // What was held back, at the end of the tokens.
  std::string finish();

 private:
  std::optional<StreamDetokenizer> detokenizer_;
  StopMatcher matcher_;
  int32_t unmatched_;  // tokens whose text is sent as it comes
};

}  // namespace batchmax::coordinator
