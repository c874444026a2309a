// A chat as the text of a prompt, for generation and for /tokenize. Pure, any thread.
#pragma once

#include <boost/json/array.hpp>
#include <string>
#include <variant>

#include "coordinator/gateway/api_error.h"
#include "coordinator/gateway/generation_request.h"
#include "coordinator/text/chat_template.h"

namespace batchmax::coordinator {

// chat_template: null where the model has none. The template spells out the special tokens.
std::variant<std::string, ApiError> render_chat(const ChatTemplate* chat_template,
                                                const boost::json::array& messages, const ChatShape& shape);

}  // namespace batchmax::coordinator
