// Whether a request could ever fit in the KV memory of a group, and if not, what would. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/compression.h"

namespace batchmax::coordinator {

// Empty: it fits in `capacity_pages`. Else a sentence for the user: what it needs, how many tokens fit in its
// mode, and which kv_budget or mode would fit. `server`: what a request's own kv_budget and mode are resolved
// with.
std::optional<std::string> reason_it_never_fits(const config::CompressionSettings& server,
                                                const config::Compression& compression, int32_t prompt_tokens,
                                                int32_t max_tokens, int32_t capacity_pages);

}  // namespace batchmax::coordinator
