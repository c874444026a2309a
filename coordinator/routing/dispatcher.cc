#include "coordinator/routing/dispatcher.h"

#include <algorithm>
#include <utility>

#include "config/kv_reservation.h"
#include "coordinator/routing/fitting.h"
#include "monitoring/check.h"

namespace batchmax::coordinator {
namespace {

TokenEnd error_end(std::string error) {
  TokenEnd end;
  end.reason = FinishReason::error;
  end.error = std::move(error);
  return end;
}

Rejection reject(Rejection::Kind kind, std::string message) { return {kind, std::move(message)}; }

}  // namespace

Dispatcher::Dispatcher(const Limits& limits, const config::CompressionSettings& compression)
    : limits_(limits), compression_(compression), admission_(limits.queue) {}

void Dispatcher::group_up(GroupId group, int32_t capacity_pages, int32_t max_sequences) {
  admission_.add_group(group, capacity_pages, max_sequences);
  dispatch();
}

void Dispatcher::group_down(GroupId group, monitoring::TimePoint now, const std::string& why) {
  const int32_t capacity = admission_.groups().at(group).capacity();
  lost_capacity_ = now < lost_until_ ? std::max(lost_capacity_, capacity) : capacity;
  lost_until_ = now + limits_.patience;
  for (const uint64_t request : admission_.remove_group(group)) {
    const auto found = open_.find(request);
    // Cancelled ones are not open any more; one that was replayed runs elsewhere.
    if (found != open_.end() && found->second.group == group) lose_attempt(request, why);
  }
  dispatch();
}

void Dispatcher::group_silent(GroupId group, bool silent) {
  if (silent) {
    admission_.suspend(group);
  } else if (admission_.resume(group)) {
    dispatch();
  }
}

std::optional<Rejection> Dispatcher::rejection(const TokenRequest& request, monitoring::TimePoint now) const {
  const bool expected_back = now < lost_until_;
  if (!admission_.has_groups() && !expected_back) {
    return reject(Rejection::Kind::no_group, "No group of workers is connected; try again shortly.");
  }
  const int32_t capacity = std::max(admission_.largest_capacity(), expected_back ? lost_capacity_ : 0);
  const auto prompt_tokens = static_cast<int32_t>(request.tokens.size());
  if (auto why = reason_it_never_fits(compression_, request.compression, prompt_tokens, request.max_tokens,
                                      capacity)) {
    return reject(Rejection::Kind::never_fits, *std::move(why));
  }
  return std::nullopt;
}

std::variant<uint64_t, Rejection> Dispatcher::submit(TokenRequest request, monitoring::TimePoint now) {
  CHECK(!request.tokens.empty());
  CHECK_GE(request.max_tokens, 1);
  if (auto refused = rejection(request, now)) return *std::move(refused);
  TokenLog log(std::exchange(request.tokens, {}), request.max_tokens);
  Open open{std::move(request), std::move(log), std::nullopt};
  const uint64_t id = next_request_;
  if (!admission_.enqueue(id, demand_of(open))) {
    return reject(Rejection::Kind::queue_full, "All groups are busy and " +
                                                   std::to_string(admission_.waiting()) + " requests with " +
                                                   std::to_string(admission_.waiting_tokens()) +
                                                   " prompt tokens wait already; try again later.");
  }
  ++next_request_;
  open_.emplace(id, std::move(open));
  dispatch();
  return id;
}

void Dispatcher::cancel(uint64_t request) {
  const auto found = open_.find(request);
  if (found == open_.end()) return;
  if (found->second.group) {
    // The books keep its pages until the group says that it has ended.
    actions_.emplace_back(SendCancel{*found->second.group, request});
  } else {
    CHECK(admission_.withdraw(request));
  }
  open_.erase(found);
  dispatch();
}

bool Dispatcher::tokens(GroupId group, uint64_t request, uint32_t attempt, uint32_t index,
                        std::span<const int32_t> ids, std::vector<TokenLogprob> logprobs) {
  const auto found = open_.find(request);
  if (found == open_.end() || found->second.group != group) return true;  // cancelled, or moved elsewhere
  const auto& [asked, log, where] = found->second;
  const bool current = attempt == log.attempt();
  if (current && logprobs.size() != (asked.logprobs >= 0 ? ids.size() : 0)) return false;
  if (current && asked.prompt_logprobs && log.next_score() < log.prompt_tokens()) return false;
  switch (found->second.log.take(attempt, index, ids)) {
    case TokenLog::Verdict::next:
      actions_.emplace_back(Emit{request, TokenChunk{{ids.begin(), ids.end()}, std::move(logprobs)}});
      return true;
    case TokenLog::Verdict::stale:
      return true;
    case TokenLog::Verdict::wrong:
      break;
  }
  return false;
}

bool Dispatcher::prompt_logprobs(GroupId group, uint64_t request, uint32_t attempt, uint32_t position,
                                 std::vector<TokenLogprob> logprobs) {
  const auto found = open_.find(request);
  if (found == open_.end() || found->second.group != group) return true;
  if (!found->second.request.prompt_logprobs) return false;
  const TokenLog::Verdict verdict = found->second.log.take_scores(attempt, position, logprobs.size());
  if (verdict == TokenLog::Verdict::next)
    actions_.emplace_back(Emit{request, PromptLogprobs{std::move(logprobs)}});
  return verdict != TokenLog::Verdict::wrong;
}

bool Dispatcher::released(GroupId group, uint64_t request, uint32_t attempt, int32_t pages) {
  const PageLedger::Booked booked = admission_.release(group, request, attempt, pages);
  if (booked == PageLedger::Booked::done) dispatch();
  return booked != PageLedger::Booked::too_many;
}

void Dispatcher::finished(GroupId group, uint64_t request, uint32_t attempt, Finish finish) {
  if (admission_.finish(group, request, attempt) != PageLedger::Booked::done) return;
  const auto found = open_.find(request);
  if (found != open_.end() && found->second.group == group && found->second.log.attempt() == attempt) {
    const TokenLog& log = found->second.log;
    const bool by_stop_id = finish.reason == FinishReason::stop;
    const bool complete = finish.output_tokens == log.emitted() + (by_stop_id ? 1 : 0) &&
                          (finish.reason != FinishReason::length || log.remaining() == 0);
    if (!finish.reason) {
      lose_attempt(request, "the group gave it up");
    } else if (*finish.reason == FinishReason::error || complete) {
      finish.end.reason = *finish.reason;
      end(request, std::move(finish.end));
    } else {
      lose_attempt(request, "the group lost tokens of it");
    }
  }
  dispatch();
}

Demand Dispatcher::demand_of(const Open& open) const {
  const auto tokens = static_cast<int32_t>(open.log.tokens().size());
  Demand demand;
  demand.attempt = open.log.attempt();
  demand.pages = config::reservation(open.request.compression, tokens, open.log.remaining()).pages;
  demand.tokens = tokens;
  return demand;
}

// The request's group is gone: on with it elsewhere, from the prompt and what was emitted.
void Dispatcher::lose_attempt(uint64_t request, const std::string& why) {
  Open& open = open_.at(request);
  open.group.reset();
  if (open.log.remaining() == 0) {  // only its end was lost
    TokenEnd complete;
    complete.reason = FinishReason::length;
    return end(request, std::move(complete));
  }
  if (open.log.attempt() > static_cast<uint32_t>(limits_.migrations)) {
    return end(request,
               error_end("The group of workers that ran this request was lost (" + why + ") in attempt " +
                         std::to_string(open.log.attempt()) + "; no more are allowed."));
  }
  open.log.give_up_attempt();
  ++replays_;
  admission_.requeue(request, demand_of(open));
}

void Dispatcher::end(uint64_t request, TokenEnd end) {
  actions_.emplace_back(Emit{request, std::move(end)});
  open_.erase(request);
}

void Dispatcher::dispatch() {
  while (const auto next = admission_.dispatch()) {
    Open& open = open_.at(next->request);
    CHECK(!open.group);
    CHECK_EQ(open.log.attempt(), next->attempt);
    open.group = next->group;
    actions_.emplace_back(SendSubmit{next->group, next->request});
  }
}

void Dispatcher::tick(monitoring::TimePoint now) {
  if (now < lost_until_) return;
  for (const uint64_t request : admission_.stranded()) {
    CHECK(admission_.withdraw(request));
    end(request, error_end("No group of workers that could run this request has come back in time."));
  }
}

void Dispatcher::end_all(const std::string& error) {
  std::vector<uint64_t> all;
  for (const auto& [request, open] : open_) all.push_back(request);
  std::sort(all.begin(), all.end());
  for (const uint64_t request : all) {
    const std::optional<GroupId> group = open_.at(request).group;
    if (group) {
      actions_.emplace_back(SendCancel{*group, request});
    } else {
      CHECK(admission_.withdraw(request));
    }
    end(request, error_end(error));
  }
}

std::vector<Action> Dispatcher::take_actions() { return std::exchange(actions_, {}); }

}  // namespace batchmax::coordinator
