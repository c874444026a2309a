// The `messages` of a chat request, checked and brought to the one shape that chat templates expect. Pure.
#pragma once

#include <boost/json/array.hpp>

#include "coordinator/gateway/field_reader.h"

namespace batchmax::coordinator {

// Each message becomes {"role", "content"[, "name"]} with string values; text parts are joined with line
// feeds. Whatever else a message says in a way that would change the answer is refused by name.
void read_messages(FieldReader& fields, boost::json::array& messages);

}  // namespace batchmax::coordinator
