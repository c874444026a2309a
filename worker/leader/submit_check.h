// From a Submit off the wire to a SequenceRequest that the group can run, or the reason why not. The
// coordinator has checked before, so a reason means that the two sides disagree; it must still never harm the
// group.
#pragma once

#include <string>
#include <variant>

#include "comm/protocol/messages.pb.h"
#include "config/compression.h"
#include "worker/leader/sequence_request.h"

namespace batchmax::worker {

struct SubmitLimits {
  config::CompressionSettings compression;  // the server's: a request holds what resolve() makes of them
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
};

// Pure; any thread.
std::variant<SequenceRequest, std::string> check_submit(const comm::pb::Submit& submit,
                                                        const SubmitLimits& limits);

}  // namespace batchmax::worker
