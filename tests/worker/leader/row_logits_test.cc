#include "worker/leader/row_logits.h"

#include <gtest/gtest.h>

namespace batchmax::worker {
namespace {

SequenceRequest request_of(int32_t prompt, int32_t emitted) {
  SequenceRequest request;
  request.prompt_length = prompt;
  request.max_tokens = 50;
  for (int32_t i = 0; i < prompt + emitted; ++i) request.tokens.push_back(100 + i);
  return request;
}

PlannedRow block(int32_t position, int32_t count, int32_t token_begin, bool samples) {
  PlannedRow planned;
  planned.row.sequence = 6;
  planned.row.position = position;
  planned.row.token_begin = token_begin;
  planned.row.token_count = count;
  planned.samples = samples;
  return planned;
}

LogprobSpan add(const SequenceRequest& request, const PlannedRow& planned, StepPlan& plan) {
  if (planned.samples) plan.samples.push_back(sample_of(request, planned.row));
  return plan_logits(request, planned, plan);
}

TEST(RowLogits, APlainRequestAsksForNothing) {
  StepPlan plan;
  const LogprobSpan span = add(request_of(20, 0), block(0, 20, 5, true), plan);
  complete_adjustments(plan);
  EXPECT_EQ(span.prompt, 0);
  EXPECT_FALSE(span.drawn);
  EXPECT_TRUE(plan.counted.empty());
  EXPECT_TRUE(plan.adjusted.empty());
  EXPECT_TRUE(plan.logprobs.empty());
  EXPECT_TRUE(logit_entries(request_of(20, 0)).empty());
  ASSERT_EQ(plan.samples.size(), 1U);
  EXPECT_EQ(plan.samples[0].token, 24);
  EXPECT_EQ(plan.samples[0].position, 20);
}

TEST(RowLogits, AdjustmentsStandBesideTheSamples) {
  SequenceRequest adjusted = request_of(20, 0);
  adjusted.logit_bias = {{4, 1.0F}, {5, 2.0F}};
  adjusted.stop_ids = {2, 3, 7};
  adjusted.min_tokens = 1;
  StepPlan plan;
  add(request_of(8, 0), block(0, 8, 0, true), plan);
  add(adjusted, block(0, 20, 8, true), plan);   // draws token 0: banned
  add(adjusted, block(20, 1, 28, true), plan);  // draws token 1
  add(request_of(8, 0), block(8, 1, 29, true), plan);
  complete_adjustments(plan);
  ASSERT_EQ(plan.adjusted.size(), 4U);
  EXPECT_EQ(plan.adjusted[0].sequence, kernels::kNoSequence);
  EXPECT_EQ(plan.adjusted[1].biases, 2);
  EXPECT_EQ(plan.adjusted[1].ban_begin, 2);
  EXPECT_EQ(plan.adjusted[1].bans, 3);
  EXPECT_EQ(plan.adjusted[2].bans, 0);
  EXPECT_EQ(plan.adjusted[3].sequence, kernels::kNoSequence);
  const auto entries = logit_entries(adjusted);
  ASSERT_EQ(entries.size(), 5U);
  EXPECT_EQ(entries[1].token, 5);
  EXPECT_EQ(entries[2].token, 2);
}

TEST(RowLogits, AReplaysEmittedTokensCountAsOutput) {
  SequenceRequest request = request_of(20, 10);
  request.sampling.presence_penalty = 1;
  StepPlan plan;
  add(request, block(0, 16, 0, false), plan);
  add(request, block(16, 14, 16, true), plan);
  ASSERT_EQ(plan.counted.size(), 2U);
  EXPECT_EQ(plan.counted[0].restart, 1);
  EXPECT_EQ(plan.counted[0].prompt_count, 16);
  EXPECT_EQ(plan.counted[1].restart, 0);
  EXPECT_EQ(plan.counted[1].prompt_count, 4);
  EXPECT_EQ(plan.counted[1].token_begin, 16);
  EXPECT_EQ(plan.counted[1].token_count, 14);
}

TEST(RowLogits, EachTokenOfThePromptIsScoredByTheOneBeforeIt) {
  SequenceRequest request = request_of(20, 10);
  request.logprobs = 3;
  request.prompt_logprobs_from = 4;
  StepPlan plan;
  const LogprobSpan first = add(request, block(0, 16, 7, false), plan);
  EXPECT_EQ(first.position, 4);
  EXPECT_EQ(first.prompt, 13);  // positions 4 … 16
  EXPECT_EQ(plan.logprobs[0].token, 7 + 3);
  EXPECT_EQ(plan.logprobs[0].target, 104);
  EXPECT_EQ(plan.logprobs[12].token, 7 + 15);
  EXPECT_EQ(plan.logprobs[12].target, 116);
  const LogprobSpan second = add(request, block(16, 14, 23, true), plan);
  EXPECT_EQ(second.position, 17);
  EXPECT_EQ(second.prompt, 3);  // 17 … 19; emitted tokens have been told
  EXPECT_TRUE(second.drawn);
  ASSERT_EQ(plan.logprobs.size(), 17U);
  EXPECT_EQ(plan.logprobs[16].target, -1);
  EXPECT_EQ(plan.logprobs[16].token, 23 + 13);
  EXPECT_EQ(plan.logprobs[16].sample, 0);
  EXPECT_EQ(plan.logprobs[16].top, 3);
}

}  // namespace
}  // namespace batchmax::worker
