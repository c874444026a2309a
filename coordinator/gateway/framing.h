// Where does a request end? One strict answer, before any parser sees it: the parser accepts several
// ambiguous framings that a proxy in front may read differently (request smuggling). Pure, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "coordinator/gateway/http_message.h"

namespace batchmax::coordinator {

// Refuses: lines that do not end with CRLF, control characters, folded fields, space before a colon, more
// than max_fields fields, any Transfer-Encoding (411), other than one Host, other than one plain decimal
// Content-Length on POST (411 for none) or more than one on other methods, a target that is no absolute path,
// repeated fields that must be unique (Authorization, Content-Type, Expect).
// REQUIRES: head ends with the first CRLF CRLF that it contains.
std::optional<HttpFault> check_framing(std::string_view head, int32_t max_fields);

}  // namespace batchmax::coordinator
