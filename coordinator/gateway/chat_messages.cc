#include "coordinator/gateway/chat_messages.h"

#include <fmt/format.h>

#include <boost/json/value.hpp>

namespace batchmax::coordinator {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxWordBytes = 256;

// What a message may hold beside role, content and name, and what would change the answer.
constexpr std::string_view kUnsupported[] = {"tool_calls", "tool_call_id", "function_call", "audio"};

std::optional<std::string> join_parts(const boost::json::array& parts) {
  std::string joined;
  for (const boost::json::value& part : parts) {
    if (!part.is_object()) return std::nullopt;
    const boost::json::value* type = part.get_object().if_contains("type");
    const boost::json::value* text = part.get_object().if_contains("text");
    if (type == nullptr || *type != "text" || text == nullptr || !text->is_string()) return std::nullopt;
    if (&part != parts.data()) joined += '\n';
    joined += std::string_view(text->get_string().data(), text->get_string().size());
  }
  return joined;
}

std::optional<std::string> read_content(const boost::json::value* content) {
  if (content == nullptr) return std::nullopt;
  if (content->is_null()) return std::string();
  if (content->is_string()) return std::string(content->get_string());
  if (content->is_array()) return join_parts(content->get_array());
  return std::nullopt;
}

bool empty(const boost::json::value& value) {
  return value.is_null() || (value.is_array() && value.get_array().empty());
}

}  // namespace

void read_messages(FieldReader& fields, boost::json::array& messages) {
  const boost::json::value* value = fields.find("messages");
  if (fields.error()) return;
  if (value == nullptr || !value->is_array() || value->get_array().empty() ||
      value->get_array().size() > kMaxMessages) {
    return fields.fail("messages", fmt::format("messages must be a list of 1 to {} messages.", kMaxMessages));
  }
  for (const boost::json::value& item : value->get_array()) {
    const std::string at = fmt::format("messages[{}]", messages.size());
    if (!item.is_object()) return fields.fail(at, at + " must be an object.");
    const boost::json::object& given = item.get_object();
    const boost::json::value* role = given.if_contains("role");
    if (role == nullptr || !role->is_string() || role->get_string().empty() ||
        role->get_string().size() > kMaxWordBytes) {
      return fields.fail(at + ".role", at + ".role must be a word such as system, user or assistant.");
    }
    for (const std::string_view name : kUnsupported) {
      const boost::json::value* unsupported = given.if_contains(name);
      if (unsupported == nullptr || empty(*unsupported)) continue;
      return fields.fail({400, "unsupported_field", fmt::format("{}.{} is not supported here.", at, name),
                          fmt::format("{}.{}", at, name), 0});
    }
    auto content = read_content(given.if_contains("content"));
    if (!content) {
      return fields.fail(
          at + ".content",
          at + ".content must be a string or a list of {\"type\": \"text\", \"text\": ...} parts.");
    }
    boost::json::object message;
    message["role"] = role->get_string();
    message["content"] = *content;
    const boost::json::value* name = given.if_contains("name");
    if (name != nullptr && name->is_string() && name->get_string().size() <= kMaxWordBytes)
      message["name"] = *name;
    // What a thinking model thought: its template says whether earlier thoughts are shown.
    const boost::json::value* reasoning = given.if_contains("reasoning_content");
    if (reasoning != nullptr && reasoning->is_string()) message["reasoning_content"] = *reasoning;
    messages.push_back(std::move(message));
  }
}

}  // namespace batchmax::coordinator
