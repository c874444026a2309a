#include "worker/leader/submit_check.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "config/kv_reservation.h"

namespace batchmax::worker {
namespace {

SubmitLimits limits() {
  SubmitLimits made;
  made.max_model_len = 4096;
  made.vocab_size = 500;
  return made;
}

comm::pb::Submit good_submit() {
  comm::pb::Submit submit;
  submit.set_request(7);
  submit.set_attempt(2);
  for (uint32_t i = 0; i < 300; ++i) submit.add_tokens(i);
  submit.set_prompt_length(290);
  submit.set_max_tokens(50);
  submit.set_min_tokens(3);
  auto& compression = *submit.mutable_compression();
  compression.set_mode(comm::pb::Compression::FULL);
  compression.set_budget(100);
  compression.set_block(48);
  compression.set_sinks(4);
  compression.set_recent(25);
  compression.set_prompt_tail(25);
  compression.set_decode_block(16);
  submit.mutable_sampling()->set_top_p(0.5F);
  submit.mutable_sampling()->set_seed(99);
  submit.mutable_sampling()->set_choice(1);
  submit.mutable_sampling()->set_presence_penalty(-2);
  submit.mutable_sampling()->set_frequency_penalty(0.5F);
  submit.mutable_sampling()->set_repetition_penalty(1.5F);
  submit.set_logprobs(21);
  submit.set_prompt_logprobs_from(12);
  auto& bias = *submit.add_logit_bias();
  bias.set_id(17);
  bias.set_bias(-4);
  submit.add_stop_ids(2);
  submit.add_stop_ids(4000000000U);
  submit.set_pages(2);
  return submit;
}

TEST(SubmitCheck, AGoodOneBecomesARequest) {
  const auto checked = check_submit(good_submit(), limits());
  ASSERT_TRUE(std::holds_alternative<SequenceRequest>(checked)) << std::get<std::string>(checked);
  const auto& request = std::get<SequenceRequest>(checked);
  EXPECT_EQ(request.request, 7U);
  EXPECT_EQ(request.attempt, 2U);
  EXPECT_EQ(request.tokens.size(), 300U);
  EXPECT_EQ(request.tokens[299], 299);
  EXPECT_EQ(request.prompt_length, 290);
  EXPECT_EQ(request.emitted(), 10);
  EXPECT_EQ(request.remaining(), 40);
  EXPECT_EQ(request.min_tokens, 3);
  EXPECT_EQ(request.compression, (config::Compression{config::Mode::full, 100, 48, 4, 25, 25, 16}));
  EXPECT_EQ(request.sampling.seed, 99U);
  EXPECT_EQ(request.sampling.choice, 1);
  EXPECT_EQ(request.sampling.presence_penalty, -2);
  EXPECT_EQ(request.sampling.frequency_penalty, 0.5F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(request.logprobs, 20);
  EXPECT_EQ(request.prompt_logprobs_from, 12);
  ASSERT_EQ(request.logit_bias.size(), 1U);
  EXPECT_EQ(request.logit_bias[0].token, 17);
  EXPECT_EQ(request.logit_bias[0].bias, -4);
  EXPECT_EQ(request.stop_ids, (std::vector<int32_t>{2}));
}

TEST(SubmitCheck, ServerBudgetKeepsTheServersBlock) {
  comm::pb::Submit submit = good_submit();
  auto& compression = *submit.mutable_compression();
  compression.set_budget(1024);
  compression.set_block(256);
  compression.set_recent(256);
  compression.set_prompt_tail(32);
  submit.set_pages(6);
  EXPECT_TRUE(std::holds_alternative<SequenceRequest>(check_submit(submit, limits())));
}

TEST(SubmitCheck, TakesTheLargestThatSettingsAndClientsMayAskFor) {
  SubmitLimits server = limits();
  server.compression.budget = std::numeric_limits<int32_t>::max();
  comm::pb::Submit submit = good_submit();
  auto& compression = *submit.mutable_compression();
  compression.set_budget(2147483647U);
  compression.set_block(256);
  compression.set_recent(2147483647U / 4);
  compression.set_prompt_tail(32);
  submit.mutable_sampling()->set_top_k(2147483647U);
  submit.set_pages(6);
  const auto checked = check_submit(submit, server);
  ASSERT_TRUE(std::holds_alternative<SequenceRequest>(checked)) << std::get<std::string>(checked);
  EXPECT_EQ(std::get<SequenceRequest>(checked).sampling.top_k, std::numeric_limits<int32_t>::max());
}

TEST(SubmitCheck, EveryDisagreementHasAReason) {
  using Submit = comm::pb::Submit;
  const std::vector<std::function<void(Submit&)>> faults = {
      [](Submit& s) { s.clear_tokens(); },
      [](Submit& s) { s.set_tokens(5, 500); },
      [](Submit& s) { s.set_tokens(5, 4294967295U); },
      [](Submit& s) { s.set_prompt_length(0); },
      [](Submit& s) { s.set_prompt_length(301); },
      [](Submit& s) { s.set_max_tokens(10); },
      [](Submit& s) { s.set_max_tokens(3807); },
      [](Submit& s) { s.set_max_tokens(4294967295U); },
      [](Submit& s) { s.set_pages(3); },
      [](Submit& s) { s.set_pages(0); },
      [](Submit& s) { s.mutable_compression()->set_block(0); },
      [](Submit& s) { s.mutable_compression()->set_block(49); },
      [](Submit& s) { s.mutable_compression()->set_budget(0); },
      [](Submit& s) { s.mutable_compression()->set_budget(4294967295U); },
      [](Submit& s) { s.mutable_compression()->set_recent(24); },
      [](Submit& s) { s.mutable_compression()->set_sinks(90); },
      [](Submit& s) { s.mutable_compression()->set_decode_block(17); },
      [](Submit& s) { s.mutable_compression()->set_mode(static_cast<comm::pb::Compression::Mode>(9)); },
      [](Submit& s) { s.clear_compression(); },
      [](Submit& s) { s.clear_sampling(); },
      [](Submit& s) { s.mutable_sampling()->set_temperature(-1); },
      [](Submit& s) { s.mutable_sampling()->set_temperature(std::numeric_limits<float>::quiet_NaN()); },
      [](Submit& s) { s.mutable_sampling()->set_temperature(std::numeric_limits<float>::infinity()); },
      [](Submit& s) { s.mutable_sampling()->set_top_p(1.5F); },
      [](Submit& s) { s.mutable_sampling()->set_min_p(-0.5F); },
      [](Submit& s) { s.mutable_sampling()->set_top_k(4294967295U); },
      [](Submit& s) { s.mutable_sampling()->set_repetition_penalty(0); },
      [](Submit& s) { s.mutable_sampling()->set_presence_penalty(std::numeric_limits<float>::quiet_NaN()); },
      [](Submit& s) { s.mutable_sampling()->set_frequency_penalty(std::numeric_limits<float>::infinity()); },
      [](Submit& s) { s.set_logprobs(22); },
      [](Submit& s) { s.set_logprobs(0); },
      [](Submit& s) { s.set_prompt_logprobs_from(291); },
      [](Submit& s) { s.mutable_logit_bias(0)->set_id(500); },
      [](Submit& s) { s.mutable_logit_bias(0)->set_bias(std::numeric_limits<float>::infinity()); },
      [](Submit& s) { *s.add_logit_bias() = s.logit_bias(0); },
      [](Submit& s) { s.mutable_stop_ids()->Resize(2112, 5); },
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    comm::pb::Submit submit = good_submit();
    faults[i](submit);
    const auto checked = check_submit(submit, limits());
    ASSERT_TRUE(std::holds_alternative<std::string>(checked)) << i;
    EXPECT_FALSE(std::get<std::string>(checked).empty());
  }
}

}  // namespace
}  // namespace batchmax::worker
