#include "coordinator/routing/admission.h"

#include <gtest/gtest.h>

#include "coordinator/routing/token_log.h"

namespace batchmax::coordinator {
namespace {

using Booked = PageLedger::Booked;

constexpr GroupId kA{1};
constexpr GroupId kB{2};

Demand pages(int32_t count, int32_t tokens = 10) { return {1, count, tokens}; }

TEST(PageLedger, KeepsBooksPerSequence) {
  PageLedger ledger(10, 3);
  ledger.reserve(1, 1, 6);
  EXPECT_FALSE(ledger.has_room(5));
  EXPECT_TRUE(ledger.has_room(4));
  EXPECT_EQ(ledger.release(1, 1, 2), Booked::done);
  EXPECT_EQ(ledger.headroom(), 6);
  EXPECT_EQ(ledger.finish(1, 1), Booked::done);
  EXPECT_EQ(ledger.reserved(), 0);
}

TEST(PageLedger, ChangesNothingForWhatCannotBe) {
  PageLedger ledger(10, 3);
  ledger.reserve(1, 2, 6);
  EXPECT_EQ(ledger.release(1, 1, 1), Booked::unknown);  // another attempt
  EXPECT_EQ(ledger.release(7, 2, 1), Booked::unknown);
  EXPECT_EQ(ledger.release(1, 2, 6), Booked::too_many);
  EXPECT_EQ(ledger.release(1, 2, -1), Booked::too_many);
  EXPECT_EQ(ledger.finish(1, 1), Booked::unknown);
  EXPECT_EQ(ledger.reserved(), 6);
  EXPECT_EQ(ledger.finish(1, 2), Booked::done);
  EXPECT_EQ(ledger.finish(1, 2), Booked::unknown);
}

TEST(PageLedger, CountsSequencesToo) {
  PageLedger ledger(10, 2);
  ledger.reserve(1, 1, 1);
  ledger.reserve(2, 1, 1);
  EXPECT_FALSE(ledger.has_room(1));
}

TEST(Router, TakesTheGroupWithTheMostHeadroom) {
  EXPECT_EQ(route({}), std::nullopt);
  const GroupLoad small{kA, 5, 0, true}, large{kB, 9, 7, true};
  EXPECT_EQ(route(std::vector{small, large}), kB);
  EXPECT_EQ(route(std::vector{large, small}), kB);
  const GroupLoad no_place{kB, 9, 8, false};
  EXPECT_EQ(route(std::vector{small, no_place}), kA);
  EXPECT_EQ(route(std::vector{no_place}), std::nullopt);
}

TEST(Router, SettlesTiesBySequencesAndThenByAge) {
  const GroupLoad busy{kA, 5, 3, true}, idle{kB, 5, 2, true}, old{kA, 5, 2, true};
  EXPECT_EQ(route(std::vector{busy, idle}), kB);
  EXPECT_EQ(route(std::vector{idle, old}), kA);
}

TEST(Admission, NeverLetsTheYoungOvertake) {
  Admission admission({10, 1000});
  admission.add_group(kA, 10, 8);
  ASSERT_TRUE(admission.enqueue(1, pages(8)));
  EXPECT_EQ(admission.dispatch()->request, 1U);
  ASSERT_TRUE(admission.enqueue(2, pages(5)));
  ASSERT_TRUE(admission.enqueue(3, pages(1)));  // would fit
  EXPECT_FALSE(admission.dispatch());
  EXPECT_EQ(admission.finish(kA, 1, 1), Booked::done);
  EXPECT_EQ(admission.dispatch()->request, 2U);
  EXPECT_EQ(admission.dispatch()->request, 3U);
  EXPECT_FALSE(admission.dispatch());
}

TEST(Admission, BoundsTheQueueByRequestsAndTokens) {
  Admission admission({2, 100});
  admission.add_group(kA, 1, 8);
  ASSERT_TRUE(admission.enqueue(1, pages(1, 5000)));  // runs at once: no queue
  ASSERT_TRUE(admission.dispatch());
  EXPECT_FALSE(admission.enqueue(2, pages(1, 101)));
  EXPECT_TRUE(admission.enqueue(3, pages(1, 60)));
  EXPECT_FALSE(admission.enqueue(4, pages(1, 41)));
  EXPECT_TRUE(admission.enqueue(5, pages(1, 40)));
  EXPECT_FALSE(admission.enqueue(6, pages(1, 0)));
  EXPECT_TRUE(admission.withdraw(3));
  EXPECT_FALSE(admission.withdraw(3));
  EXPECT_EQ(admission.waiting_tokens(), 40);
  EXPECT_TRUE(admission.enqueue(7, pages(1, 60)));
  admission.requeue(2, pages(1, 1000));  // was accepted once
  EXPECT_EQ(admission.waiting(), 3);
}

TEST(Admission, TellsPagesFromPlaces) {
  Admission admission({10, 1000});
  admission.add_group(kA, 10, 1);
  for (uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(admission.enqueue(id, pages(4)));
  ASSERT_TRUE(admission.dispatch());
  EXPECT_EQ(admission.waiting_for().sequences, 2);  // 6 pages are free
  EXPECT_EQ(admission.waiting_for().pages, 0);
}

TEST(Admission, GivesALostGroupsRequestsTheirOldPlaces) {
  Admission admission({10, 1000});
  admission.add_group(kA, 4, 8);
  for (uint64_t id = 1; id <= 4; ++id) ASSERT_TRUE(admission.enqueue(id, pages(2)));
  EXPECT_EQ(admission.dispatch()->request, 1U);
  EXPECT_EQ(admission.dispatch()->request, 2U);
  EXPECT_EQ(admission.remove_group(kA), (std::vector<uint64_t>{1, 2}));
  admission.requeue(2, pages(2));
  admission.add_group(kB, 4, 8);
  EXPECT_EQ(admission.dispatch()->request, 2U);
  EXPECT_EQ(admission.dispatch()->request, 3U);
}

TEST(Admission, PassesOverWhatNoPresentGroupCouldHold) {
  Admission admission({10, 1000});
  admission.add_group(kA, 20, 8);
  admission.add_group(kB, 4, 8);
  ASSERT_TRUE(admission.enqueue(1, pages(20)));
  ASSERT_TRUE(admission.dispatch());
  ASSERT_TRUE(admission.enqueue(2, pages(9)));
  ASSERT_TRUE(admission.enqueue(3, pages(4)));
  EXPECT_FALSE(admission.dispatch());  // 2 waits for A, 3 behind it
  EXPECT_TRUE(admission.stranded().empty());
  EXPECT_EQ(admission.waiting_for().pages, 2);
  admission.remove_group(kA);
  EXPECT_EQ(admission.stranded(), std::vector<uint64_t>{2});
  EXPECT_EQ(admission.waiting_for().group, 1);
  EXPECT_EQ(admission.dispatch()->request, 3U);
}

TEST(TokenLog, TakesThePromptsScoresOnceAndInOrder) {
  using Verdict = TokenLog::Verdict;
  TokenLog log({7, 8, 9, 10}, 4);
  EXPECT_EQ(log.next_score(), 1);
  EXPECT_EQ(log.take_scores(1, 0, 1), Verdict::wrong) << "the first token has none";
  EXPECT_EQ(log.take_scores(1, 1, 2), Verdict::next);
  EXPECT_EQ(log.take_scores(1, 1, 2), Verdict::wrong) << "repeated";
  log.give_up_attempt();
  EXPECT_EQ(log.take_scores(1, 3, 1), Verdict::stale);
  EXPECT_EQ(log.next_score(), 3);
  EXPECT_EQ(log.take_scores(2, 3, 2), Verdict::wrong) << "more than the prompt has";
  EXPECT_EQ(log.take_scores(2, 3, 1), Verdict::next);
  EXPECT_EQ(log.next_score(), log.prompt_tokens());
  EXPECT_EQ(log.take_scores(2, 4, 0), Verdict::wrong);
}

TEST(TokenLog, TakesOnlyTheNextIndexOfTheCurrentAttempt) {
  using Verdict = TokenLog::Verdict;
  TokenLog log({7, 8}, 4);
  const std::vector<int32_t> one = {5}, two = {6, 6};
  EXPECT_EQ(log.take(1, 0, one), Verdict::next);
  EXPECT_EQ(log.take(1, 0, one), Verdict::wrong);  // repeated
  EXPECT_EQ(log.take(1, 2, one), Verdict::wrong);  // one is missing
  EXPECT_EQ(log.take(1, 1, {}), Verdict::wrong);
  EXPECT_EQ(log.take(1, 1, two), Verdict::next);
  EXPECT_EQ(log.take(1, 3, two), Verdict::wrong);  // more than max_tokens
  log.give_up_attempt();
  EXPECT_EQ(log.take(1, 3, one), Verdict::stale);
  EXPECT_EQ(log.take(2, 3, one), Verdict::next);
  EXPECT_EQ(log.tokens(), (std::vector<int32_t>{7, 8, 5, 6, 6, 5}));
  EXPECT_EQ(log.remaining(), 0);
}

}  // namespace
}  // namespace batchmax::coordinator
