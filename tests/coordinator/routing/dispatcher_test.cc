#include "coordinator/routing/dispatcher.h"

#include <gmock/gmock.h>

namespace batchmax::coordinator {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr GroupId kA{1};
constexpr GroupId kB{2};

TokenRequest ask(int32_t prompt, int32_t max_tokens) {
  TokenRequest request;
  request.tokens.assign(static_cast<size_t>(prompt), 3);
  request.max_tokens = max_tokens;
  request.compression.mode = config::Mode::off;
  return request;
}

class Dispatching : public testing::Test {
 protected:
  uint64_t submit(int32_t prompt, int32_t max_tokens) {
    const auto answer = dispatcher_.submit(ask(prompt, max_tokens), clock_.now());
    EXPECT_TRUE(std::holds_alternative<uint64_t>(answer));
    return std::get<uint64_t>(answer);
  }
  std::optional<Rejection::Kind> rejection(int32_t prompt, int32_t max_tokens) {
    const auto answer = dispatcher_.submit(ask(prompt, max_tokens), clock_.now());
    const auto* rejected = std::get_if<Rejection>(&answer);
    return rejected == nullptr ? std::nullopt : std::optional(rejected->kind);
  }
  // The actions since the last call, as text: easy to read and to compare.
  std::string actions() {
    std::string text;
    for (const Action& action : dispatcher_.take_actions()) {
      if (const auto* sent = std::get_if<SendSubmit>(&action)) {
        text += "submit " + std::to_string(sent->request) + " to " +
                std::to_string(static_cast<int>(sent->group));
        text += " attempt " + std::to_string(dispatcher_.log_of(sent->request).attempt()) + "; ";
      } else if (const auto* cancel = std::get_if<SendCancel>(&action)) {
        text += "cancel " + std::to_string(cancel->request) + "; ";
      } else {
        const auto& emit = std::get<Emit>(action);
        text += std::to_string(emit.request);
        if (const auto* chunk = std::get_if<TokenChunk>(&emit.event)) {
          for (const int32_t id : chunk->ids) text += " token " + std::to_string(id);
          for (const TokenLogprob& logprob : chunk->logprobs) text += " rank " + std::to_string(logprob.rank);
        } else if (const auto* scores = std::get_if<PromptLogprobs>(&emit.event)) {
          text += " scores " + std::to_string(scores->logprobs.size());
        } else {
          const auto& end = std::get<TokenEnd>(emit.event);
          text += " ends " + std::to_string(static_cast<int>(end.reason)) +
                  (end.error.empty() ? "" : " " + end.error);
        }
        text += "; ";
      }
    }
    return text;
  }
  bool token(GroupId group, uint64_t request, uint32_t attempt, uint32_t index, int32_t id) {
    return dispatcher_.tokens(group, request, attempt, index, std::vector<int32_t>{id});
  }
  void finish(GroupId group, uint64_t request, uint32_t attempt, std::optional<FinishReason> reason,
              int32_t output_tokens) {
    dispatcher_.finished(group, request, attempt, {reason, output_tokens, {}});
  }

  monitoring::ManualClock clock_;
  Dispatcher dispatcher_{{{2, 1000}, 2, 60s}, {}};
};

TEST_F(Dispatching, StreamsARequestToItsEnd) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t id = submit(100, 2);
  EXPECT_EQ(actions(), "submit 1 to 1 attempt 1; ");
  EXPECT_TRUE(token(kA, id, 1, 0, 50));
  EXPECT_TRUE(token(kA, id, 1, 1, 51));
  finish(kA, id, 1, FinishReason::length, 2);
  EXPECT_EQ(actions(), "1 token 50; 1 token 51; 1 ends 1; ");
  EXPECT_EQ(dispatcher_.open(), 0);
  EXPECT_EQ(dispatcher_.admission().groups().at(kA).reserved(), 0);
}

TEST_F(Dispatching, TellsLogProbabilitiesOnceWhateverGroupsDie) {
  dispatcher_.group_up(kA, 10, 8);
  dispatcher_.group_up(kB, 10, 8);
  TokenRequest request = ask(100, 3);
  request.logprobs = 2;
  request.prompt_logprobs = true;
  const uint64_t id = std::get<uint64_t>(dispatcher_.submit(request, clock_.now()));
  const GroupId first = dispatcher_.runs_on(id, kA) ? kA : kB;
  const GroupId second = first == kA ? kB : kA;
  actions();
  const auto scores = [](size_t count) { return std::vector<TokenLogprob>(count); };
  const std::vector<int32_t> ids{50};
  EXPECT_TRUE(dispatcher_.prompt_logprobs(first, id, 1, 1, scores(60)));
  EXPECT_FALSE(dispatcher_.prompt_logprobs(first, id, 1, 1, scores(60))) << "repeated";
  EXPECT_FALSE(dispatcher_.tokens(first, id, 1, 0, ids, scores(1))) << "before the prompt's are there";
  dispatcher_.group_down(first, clock_.now(), "test");
  EXPECT_THAT(actions(), HasSubstr("attempt 2"));
  EXPECT_EQ(dispatcher_.log_of(id).next_score(), 61);
  EXPECT_TRUE(dispatcher_.prompt_logprobs(second, id, 1, 61, scores(39))) << "stale: ignored";
  EXPECT_TRUE(dispatcher_.prompt_logprobs(second, id, 2, 61, scores(39)));
  EXPECT_FALSE(dispatcher_.tokens(second, id, 2, 0, ids)) << "without what was asked for";
  EXPECT_TRUE(dispatcher_.tokens(second, id, 2, 0, ids, scores(1)));
  EXPECT_EQ(actions(), "1 scores 39; 1 token 50 rank 1; ");
  const uint64_t plain = submit(10, 2);
  EXPECT_FALSE(dispatcher_.prompt_logprobs(second, plain, 1, 1, scores(1))) << "nobody asked";
}

TEST_F(Dispatching, RejectsWithTheReason) {
  EXPECT_EQ(rejection(100, 2), Rejection::Kind::no_group);
  dispatcher_.group_up(kA, 10, 1);
  EXPECT_EQ(rejection(600, 41), Rejection::Kind::never_fits);
  submit(600, 40);
  submit(100, 1);
  submit(100, 1);
  EXPECT_EQ(rejection(100, 1), Rejection::Kind::queue_full);
}

TEST_F(Dispatching, KeepsACancelledRequestsPagesUntilTheGroupIsDone) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t running = submit(400, 240);
  const uint64_t waiting = submit(400, 240);
  const uint64_t next = submit(400, 240);
  actions();
  dispatcher_.cancel(waiting);
  dispatcher_.cancel(running);
  EXPECT_EQ(actions(), "cancel 1; ");
  EXPECT_TRUE(token(kA, running, 1, 0, 50));  // crossed the Cancel on its way
  EXPECT_EQ(actions(), "");
  finish(kA, running, 1, std::nullopt, 1);
  EXPECT_EQ(actions(), "submit " + std::to_string(next) + " to 1 attempt 1; ");
}

TEST_F(Dispatching, MovesALostGroupsRequestsToAnother) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t id = submit(100, 3);
  EXPECT_TRUE(token(kA, id, 1, 0, 50));
  dispatcher_.group_up(kB, 10, 8);
  actions();
  dispatcher_.group_down(kA, clock_.now(), "killed");
  EXPECT_EQ(actions(), "submit 1 to 2 attempt 2; ");
  EXPECT_EQ(dispatcher_.log_of(id).tokens().size(), 101U);
  EXPECT_TRUE(token(kB, id, 2, 1, 51));
  EXPECT_TRUE(token(kB, id, 2, 2, 52));
  finish(kB, id, 2, FinishReason::length, 3);
  EXPECT_EQ(actions(), "1 token 51; 1 token 52; 1 ends 1; ");
}

TEST_F(Dispatching, SpendsNoAttemptOnAGroupThatHasFallenSilent) {
  dispatcher_.group_up(kA, 10, 8);
  dispatcher_.group_up(kB, 10, 8);
  const uint64_t id = submit(100, 3);
  actions();
  dispatcher_.group_silent(kA, true);
  dispatcher_.group_silent(kB, true);
  dispatcher_.group_down(kA, clock_.now(), "silent");
  EXPECT_EQ(actions(), "");
  EXPECT_EQ(dispatcher_.admission().waiting_for().group, 1);
  dispatcher_.group_silent(kB, false);
  EXPECT_EQ(actions(), "submit " + std::to_string(id) + " to 2 attempt 2; ");
}

TEST_F(Dispatching, EndsHonestlyWhenGroupsDieTooOften) {
  const uint64_t first = 1;
  for (uint64_t start = 1; start <= 3; ++start) {
    dispatcher_.group_up(GroupId{start}, 10, 8);
    if (start == 1) submit(100, 3);
    EXPECT_THAT(actions(), HasSubstr("attempt " + std::to_string(start)));
    dispatcher_.group_down(GroupId{start}, clock_.now(), "killed");
  }
  EXPECT_THAT(
      actions(),
      HasSubstr("1 ends 3 The group of workers that ran this request was lost (killed) in attempt 3"));
  EXPECT_EQ(dispatcher_.replays(), 2U);
  dispatcher_.cancel(first);
  EXPECT_EQ(actions(), "");
}

TEST_F(Dispatching, EndsARequestThatOnlyLacksItsEnd) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t id = submit(100, 1);
  EXPECT_TRUE(token(kA, id, 1, 0, 50));
  actions();
  dispatcher_.group_down(kA, clock_.now(), "killed");
  EXPECT_EQ(actions(), "1 ends 1; ");
}

TEST_F(Dispatching, WaitsForALostGroupButNotForEver) {
  dispatcher_.group_up(kA, 10, 8);
  dispatcher_.group_down(kA, clock_.now(), "killed");
  clock_.advance(59s);
  submit(100, 3);
  EXPECT_EQ(rejection(1000, 3), Rejection::Kind::never_fits);
  dispatcher_.tick(clock_.now());
  EXPECT_EQ(actions(), "");
  clock_.advance(1s);
  EXPECT_EQ(rejection(100, 3), Rejection::Kind::no_group);
  dispatcher_.tick(clock_.now());
  EXPECT_THAT(actions(), HasSubstr("1 ends 3 No group of workers"));
  EXPECT_EQ(dispatcher_.open(), 0);
}

TEST_F(Dispatching, ReplaysWhatAGroupGaveUpOrMiscounted) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t id = submit(100, 3);
  EXPECT_TRUE(token(kA, id, 1, 0, 50));
  finish(kA, id, 1, std::nullopt, 1);
  EXPECT_THAT(actions(), HasSubstr("attempt 2"));
  finish(kA, id, 2, FinishReason::stop, 3);  // one token is missing
  EXPECT_EQ(actions(), "submit 1 to 1 attempt 3; ");
  finish(kA, id, 3, FinishReason::stop, 2);  // the stop id counts
  EXPECT_EQ(actions(), "1 ends 0; ");
}

TEST_F(Dispatching, FindsAGroupThatRepeatsTokensBroken) {
  dispatcher_.group_up(kA, 10, 8);
  const uint64_t id = submit(100, 3);
  EXPECT_TRUE(token(kA, id, 1, 0, 50));
  EXPECT_FALSE(token(kA, id, 1, 0, 50));
  EXPECT_FALSE(dispatcher_.released(kA, id, 1, 100));
  EXPECT_TRUE(dispatcher_.released(kA, 77, 1, 100));  // unknown: ignored
}

TEST_F(Dispatching, EndsEverythingWhenAsked) {
  dispatcher_.group_up(kA, 10, 1);
  submit(100, 3);
  submit(100, 3);
  actions();
  dispatcher_.end_all("closing");
  EXPECT_EQ(actions(), "cancel 1; 1 ends 3 closing; 2 ends 3 closing; ");
  EXPECT_EQ(dispatcher_.open(), 0);
}

}  // namespace
}  // namespace batchmax::coordinator
