// The life of every request between the gateway and the groups: admitted, queued, sent, streamed, replayed on
// another group when its own dies, ended exactly once. A pure state machine: what happens goes in as calls,
// what is to be done comes out of take_actions(). Cluster does it; tests drive this class alone.
//
// Invariants: every accepted request gets exactly one TokenEnd, unless it is cancelled, and then none. Its
// tokens are those of its log, each once and in order. No group is sent more than its pages and sequences.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "coordinator/routing/admission.h"
#include "coordinator/routing/token_log.h"
#include "coordinator/routing/token_request.h"
#include "monitoring/clock.h"

namespace batchmax::coordinator {

struct SendSubmit {
  GroupId group;
  uint64_t request;  // what to send: Dispatcher::request_of and log_of, if it still runs_on() that group
};
struct SendCancel {
  GroupId group;
  uint64_t request;
};
struct Emit {
  uint64_t request;
  TokenEvent event;
};
using Action = std::variant<SendSubmit, SendCancel, Emit>;

class Dispatcher {
 public:
  struct Limits {
    QueueLimits queue;
    int32_t migrations = 0;           // replays of one request
    monitoring::Duration patience{};  // how long requests wait for a lost group to come back
  };
  Dispatcher(const Limits& limits, const config::CompressionSettings& compression);

  void group_up(GroupId group, int32_t capacity_pages, int32_t max_sequences);
  void group_down(GroupId group, monitoring::TimePoint now, const std::string& why);
  bool has_groups() const { return admission_.has_groups(); }
  // A present group has fallen silent, or speaks: a silent one is sent nothing new.
  void group_silent(GroupId group, bool silent);

  // Ids grow. The prompt is moved into the log.
  std::variant<uint64_t, Rejection> submit(TokenRequest request, monitoring::TimePoint now);
  void cancel(uint64_t request);  // unknown: has ended

  // What a present group said. False: that cannot be, the group is broken and must be dropped (group_down).
  // What it says of sequences that the books do not know is ignored.
  bool tokens(GroupId group, uint64_t request, uint32_t attempt, uint32_t index, std::span<const int32_t> ids,
              std::vector<TokenLogprob> logprobs = {});
  bool prompt_logprobs(GroupId group, uint64_t request, uint32_t attempt, uint32_t position,
                       std::vector<TokenLogprob> logprobs);
  bool released(GroupId group, uint64_t request, uint32_t attempt, int32_t pages);
  struct Finish {
    std::optional<FinishReason> reason;  // stop, length or error; empty: the group gave it up unasked
    int32_t output_tokens = 0;           // a stop id that ended it counts
    TokenEnd end;                        // figures and error
  };
  void finished(GroupId group, uint64_t request, uint32_t attempt, Finish finish);

  // Ends what has waited for a lost group too long. Every second or so.
  void tick(monitoring::TimePoint now);
  // Ends everything with this error.
  void end_all(const std::string& error);

  // In order. To be done before the next call of this class.
  std::vector<Action> take_actions();

  bool runs_on(uint64_t request, GroupId group) const {
    const auto found = open_.find(request);
    return found != open_.end() && found->second.group == group;
  }
  // Of a request that is open.
  const TokenRequest& request_of(uint64_t request) const { return open_.at(request).request; }
  const TokenLog& log_of(uint64_t request) const { return open_.at(request).log; }
  uint64_t replays() const { return replays_; }  // attempts after the first, of all requests so far
  int32_t open() const { return static_cast<int32_t>(open_.size()); }
  const Admission& admission() const { return admission_; }

 private:
  struct Open {
    TokenRequest request;  // without its tokens: they are in the log
    TokenLog log;
    std::optional<GroupId> group;  // where it runs; empty: it waits
  };
  std::optional<Rejection> rejection(const TokenRequest& request, monitoring::TimePoint now) const;
  Demand demand_of(const Open& open) const;
  void lose_attempt(uint64_t request, const std::string& why);
  void end(uint64_t request, TokenEnd end);
  void dispatch();

  const Limits limits_;
  const config::CompressionSettings compression_;
  Admission admission_;
  std::unordered_map<uint64_t, Open> open_;
  std::vector<Action> actions_;
  uint64_t next_request_ = 1;
  uint64_t replays_ = 0;
  // Of the last group that went: what it could hold, and until when it may be expected back.
  int32_t lost_capacity_ = 0;
  monitoring::TimePoint lost_until_{};
};

}  // namespace batchmax::coordinator
