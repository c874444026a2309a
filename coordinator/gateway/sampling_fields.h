// The fields that say how tokens are drawn and how much is told of it. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/gateway/field_reader.h"
#include "coordinator/gateway/generation_request.h"

namespace batchmax::coordinator {

// temperature, top_p, top_k, min_p, seed, penalties, min_tokens.
void read_sampling(FieldReader& fields, GenerationRequest& request);
// {"id": bias, ...}
void read_logit_bias(FieldReader& fields, int32_t vocabulary, std::vector<LogitBias>& biases);
// logprobs, and top_logprobs of a chat or echo of a completion.
void read_logprobs(FieldReader& fields, GenerationRequest& request);

}  // namespace batchmax::coordinator
