#include "coordinator/text/chat_template.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <chrono>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include "coordinator/text/json_file.h"
#include "coordinator/text/template_error.h"
#include "coordinator/text/template_evaluator.h"
#include "coordinator/text/template_functions.h"
#include "coordinator/text/template_parser.h"

namespace batchmax::coordinator {
namespace {

struct Source {
  std::string text;
  std::string name;  // of the file
};

// A special token of tokenizer_config.json: its text, or an object that holds it.
std::string token_text(const JsonNode& config, std::string_view key) {
  if (!config.has(key)) return {};
  const JsonNode token = config.at(key);
  return token.is_object() ? token.at("content").as_string() : token.as_string();
}

// The value of the key chat_template: one template, or several with names.
std::string default_template(const JsonNode& node) {
  if (!node.is_array()) return node.as_string();
  const std::vector<JsonNode> named = node.items();
  for (const JsonNode& item : named)
    if (item.at("name").as_string() == "default") return item.at("template").as_string();
  node.fail("none of the templates is named default");
}

Source find_source(const std::string& folder, const std::string& file,
                   const std::optional<JsonNode>& config) {
  if (!file.empty()) return {read_file(file), file};
  const std::string own = folder + "/chat_template.jinja";
  if (std::filesystem::exists(own)) return {read_file(own), own};
  if (!config || !config->has("chat_template"))
    throw std::runtime_error(fmt::format(
        "{}: neither chat_template.jinja nor tokenizer_config.json with the key chat_template is there",
        folder));
  return {default_template(config->at("chat_template")), folder + "/tokenizer_config.json"};
}

}  // namespace

class ChatTemplate::Program {
 public:
  Program(std::string_view source, std::string_view bos_token, std::string_view eos_token)
      : body_(jinja::parse_template(source)),
        bos_token_(jinja::Value::string(std::string(bos_token))),
        eos_token_(jinja::Value::string(std::string(eos_token))) {}

  std::string render(const boost::json::object& variables, std::chrono::system_clock::time_point now) const
      try {
    jinja::Rendering rendering(now);
    jinja::Evaluator evaluator(rendering);
    // As in Jinja, where functions are around the variables and those around what the template sets.
    const jinja::ScopePool::Use functions(evaluator.scopes(), nullptr);
    jinja::define_functions(*functions);
    functions->set("bos_token", bos_token_);
    functions->set("eos_token", eos_token_);
    const jinja::ScopePool::Use given(evaluator.scopes(), &*functions);
    for (const auto& [name, value] : variables)
      given->set(std::string_view(name.data(), name.size()), jinja::Value::from_json(value));
    const jinja::ScopePool::Use top(evaluator.scopes(), &*given);
    return evaluator.run(body_, *top);
  } catch (const jinja::OperationError& error) {  // of the variables, before a line is reached
    throw TemplateError(1, error.what());
  }

 private:
  jinja::Body body_;
  jinja::Value bos_token_, eos_token_;
};

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::parse(std::string_view source, std::string_view bos_token,
                                 std::string_view eos_token) {
  ChatTemplate parsed;
  parsed.program_ = std::make_unique<Program>(source, bos_token, eos_token);
  return parsed;
}

ChatTemplate ChatTemplate::load(const std::string& model_folder, const std::string& file) {
  const std::string path = model_folder + "/tokenizer_config.json";
  boost::json::value document;
  std::optional<JsonNode> config;
  if (std::filesystem::exists(path)) {
    document = parse_json(read_file(path), path);
    config.emplace(document, path);
  }
  const Source source = find_source(model_folder, file, config);
  try {
    return parse(source.text, config ? token_text(*config, "bos_token") : "",
                 config ? token_text(*config, "eos_token") : "");
  } catch (const TemplateError& error) {
    throw std::runtime_error(fmt::format("{}: {}", source.name, error.what()));
  }
}

std::string ChatTemplate::render(const boost::json::object& variables) const {
  return render(variables, std::chrono::system_clock::now());
}

std::string ChatTemplate::render(const boost::json::object& variables,
                                 std::chrono::system_clock::time_point now) const {
  return program_->render(variables, now);
}

}  // namespace batchmax::coordinator
