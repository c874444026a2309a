#include "coordinator/text/tokenizer_facts.h"

#include <filesystem>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

TokenizerFacts TokenizerFacts::load(const std::string& model_folder, const std::string& chat_template_file) {
  TokenizerFacts facts;
  const std::string own_template = model_folder + "/chat_template.jinja";
  if (!chat_template_file.empty()) {
    facts.chat_template = read_file(chat_template_file);
  } else if (std::filesystem::exists(own_template)) {
    facts.chat_template = read_file(own_template);
  }
  const std::string path = model_folder + "/tokenizer_config.json";
  if (!std::filesystem::exists(path)) return facts;
  const boost::json::value document = parse_json(read_file(path), path);
  const JsonNode config(document, path);
  if (config.has("tokenizer_class")) facts.tokenizer_class = config.at("tokenizer_class").as_string();
  for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (!config.has(role)) continue;
    const JsonNode token = config.at(role);
    facts.special_tokens[role] = token.is_object() ? token.at("content").as_string() : token.as_string();
  }
  if (!facts.chat_template.empty() || !config.has("chat_template")) return facts;
  const JsonNode templates = config.at("chat_template");
  if (!templates.is_array()) {
    facts.chat_template = templates.as_string();
    return facts;
  }
  for (const JsonNode& item : templates.items()) {
    if (item.at("name").as_string() == "default") facts.chat_template = item.at("template").as_string();
  }
  return facts;
}

}  // namespace batchmax::coordinator
