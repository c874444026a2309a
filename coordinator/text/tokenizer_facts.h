// What a model folder says of its tokenizer beside how it works: for clients that build prompts themselves. A
// plain value.
#pragma once

#include <map>
#include <string>

namespace batchmax::coordinator {

struct TokenizerFacts {
  std::string tokenizer_class;
  std::map<std::string, std::string> special_tokens;  // by role: bos_token, eos_token, unk_token, pad_token
  std::string chat_template;                          // its source

  // From tokenizer_config.json; what is not there stays empty. chat_template_file: instead of the folder's
  // own. Throws std::runtime_error naming file, key, expected and found.
  static TokenizerFacts load(const std::string& model_folder, const std::string& chat_template_file);
};

}  // namespace batchmax::coordinator
