// Fields that clients know and this server does not act on yet. Silence would be a wrong answer: a request
// that sets one to anything but its neutral value is refused by name. Pure.
#pragma once

#include "coordinator/gateway/field_reader.h"
#include "coordinator/gateway/generation_request.h"

namespace batchmax::coordinator {

void refuse_unsupported_fields(FieldReader& fields, Api api);

}  // namespace batchmax::coordinator
