// What the I/O thread and the step thread tell each other. Plain values; the queues between them are bounded
// (bounded_queue.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "worker/leader/sequence_request.h"

namespace batchmax::worker {

// ---- I/O thread -> step thread
struct CancelSequence {
  uint64_t request;
};
struct RoundTrip {  // a round trip through every rank; answered by RoundTripDone
  uint64_t id;
};
struct CancelAll {};  // the coordinator is gone: nobody waits for answers; answered by AllCancelled
struct Stop {         // finish what runs, then end the group; answered by Stopped
  bool now = false;   // do not wait for what runs
};
using InboxEvent = std::variant<SequenceRequest, CancelSequence, RoundTrip, CancelAll, Stop>;

// ---- step thread -> I/O thread
struct TokenMade {
  uint64_t request;
  uint32_t attempt;
  uint32_t index;  // counted from the request's first output token, replayed ones included
  int32_t id;
  std::optional<kernels::TokenLogprob> logprob;  // where the request asks for it
};
struct PromptScored {  // log probabilities of a block's tokens, before the request's first TokenMade
  uint64_t request;
  uint32_t attempt;
  int32_t position;  // in the prompt, of the first of them
  std::vector<kernels::TokenLogprob> logprobs;
};
struct PagesReleased {  // before the sequence's end
  uint64_t request;
  uint32_t attempt;
  int32_t pages;
};
enum class EndReason : uint8_t { stop, length, cancelled, error };
// All pages of the sequence are free. Exactly one per SequenceRequest.
struct SequenceEnded {
  uint64_t request = 0;
  uint32_t attempt = 0;
  EndReason reason = EndReason::error;
  int32_t output_tokens = 0;  // sampled in this attempt and before; a stop id that ended it counts
  // Slots per KV head, all of them alike.
  int32_t slots_held = 0;  // at its end
  int32_t slots_peak = 0;
  int64_t tokens_evicted = 0;
  double prefill_seconds = 0;  // first step to first token
  std::string error;
};
struct RoundTripDone {
  uint64_t id;
};
// Every rank has answered since: one that was stopped, or whose followers are gone, does not ask for work
// again.
struct AllCancelled {};
struct Stopped {};
using OutboxEvent =
    std::variant<TokenMade, PromptScored, PagesReleased, SequenceEnded, RoundTripDone, AllCancelled, Stopped>;

}  // namespace batchmax::worker
