// Between the coordinator's values and the protocol's messages. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/protocol/messages.pb.h"
#include "coordinator/routing/dispatcher.h"
#include "monitoring/metrics.h"

namespace batchmax::coordinator {

comm::pb::Frame to_submit(uint64_t request, const TokenRequest& asked, const TokenLog& log);
comm::pb::Frame to_cancel(uint64_t request);
// Empty: what no group can mean.
using SentLogprobs = google::protobuf::RepeatedPtrField<comm::pb::TokenLogprob>;
std::optional<std::vector<TokenLogprob>> logprobs_of(const SentLogprobs& sent, uint32_t vocabulary);
Dispatcher::Finish finish_of(const comm::pb::Finished& finished);
monitoring::GroupFigures figures_of(const comm::pb::Hello& hello, const comm::pb::Load& load);
const char* name_of(FinishReason reason);   // label of metrics
const char* name_of(Rejection::Kind kind);  // the same

}  // namespace batchmax::coordinator
