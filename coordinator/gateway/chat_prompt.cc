#include "coordinator/gateway/chat_prompt.h"

#include <boost/json/object.hpp>
#include <optional>

#include "coordinator/text/template_error.h"

namespace batchmax::coordinator {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// The text up to the end of the last message's content, which templates may have trimmed. Empty: it is not
// there as it was written.
std::optional<std::string> cut_after(const std::string& text, std::string_view content) {
  const size_t begin = content.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::string_view rest = content.substr(begin);
  const std::string_view trimmed = rest.substr(0, rest.find_last_not_of(kSpace) + 1);
  const size_t at = text.rfind(trimmed);
  if (at == std::string::npos) return std::nullopt;
  const bool whole = std::string_view(text).substr(at, rest.size()) == rest;
  return text.substr(0, at + (whole ? rest.size() : trimmed.size()));
}

}  // namespace

std::variant<std::string, ApiError> render_chat(const ChatTemplate* chat_template,
                                                const boost::json::array& messages, const ChatShape& shape) {
  if (chat_template == nullptr) {
    return ApiError{
        400, "no_chat_template",
        "The model has no chat template: use /v1/completions, or start the server with --chat-template.",
        "messages", 0};
  }
  boost::json::object variables;
  variables["messages"] = messages;
  variables["add_generation_prompt"] = shape.add_generation_prompt;
  // As transformers has it: templates ask whether they are none.
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  std::string text;
  try {
    text = chat_template->render(variables);
  } catch (const TemplateError& error) {
    return invalid_field("messages", error.what());
  }
  if (!shape.continue_final_message) return text;
  const boost::json::string& content = messages.back().get_object().at("content").get_string();
  auto cut = cut_after(text, std::string_view(content.data(), content.size()));
  if (cut) return *std::move(cut);
  return invalid_field(
      "continue_final_message",
      "There is nothing to continue: the last message is empty, or the chat template does not "
      "repeat it as it is.");
}

}  // namespace batchmax::coordinator
