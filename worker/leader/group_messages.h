// The leader's answers as protocol messages. Pure.
#pragma once

#include <string>

#include "comm/protocol/messages.pb.h"
#include "worker/executor/step_executor.h"
#include "worker/leader/events.h"
#include "worker/leader/group_report.h"

namespace batchmax::worker {

// Slots per KV head times kv_bytes_per_slot: bytes over all layers, heads and ranks.
comm::pb::Frame to_frame(const TokenMade& made);
comm::pb::Frame to_frame(const PromptScored& scored);
comm::pb::Frame to_frame(const PagesReleased& released);
comm::pb::Frame to_frame(const SequenceEnded& ended, uint64_t kv_bytes_per_slot);
comm::pb::Frame to_load(const GroupReport& report, uint64_t kv_bytes_per_slot);

}  // namespace batchmax::worker
