// The executor with a model that is a pure function: what reaches the model, and what comes back.
#include "worker/executor/executor.h"

#include <gtest/gtest.h>

#include "monitoring/clock.h"

namespace batchmax::worker {
namespace {

constexpr int32_t kVocabulary = 31;
int32_t next_id(int32_t id, int32_t position) { return (id * 7 + position * 3 + 5) % kVocabulary; }

// The id that follows a token is next_id(id, position).
class PureModel final : public Model {
 public:
  explicit PureModel(monitoring::ManualClock& clock) : clock_(clock) {}
  kernels::Tensor forward(const kernels::Stream&, const StepInputs& inputs, StepTimer& timer) override {
    const auto* ids = inputs.ids.as<int32_t>();
    const auto* positions = inputs.positions.as<int32_t>();
    seen_ids.assign(ids, ids + inputs.ids.dim(0));
    seen_positions.assign(positions, positions + inputs.positions.dim(0));
    logits_.assign(static_cast<size_t>(inputs.sample_tokens.dim(0) * kVocabulary), 0);
    for (int64_t r = 0; r < inputs.sample_tokens.dim(0); ++r) {
      const int32_t token = inputs.sample_tokens.as<int32_t>()[r];
      logits_[static_cast<size_t>(r * kVocabulary + next_id(ids[token], positions[token]))] = 1;
    }
    const StepTimer::Span reduction = timer.measure(StepPart::all_reduce);
    clock_.advance(std::chrono::milliseconds(250));
    return kernels::Tensor(logits_.data(), kernels::DType::f32, {inputs.sample_tokens.dim(0), kVocabulary});
  }
  kernels::Tensor logits_of(const kernels::Stream&, const StepInputs& inputs,
                            const kernels::Tensor& tokens) override {
    asked_logits.emplace_back(tokens.as<int32_t>(), tokens.as<int32_t>() + tokens.dim(0));
    scored_.assign(static_cast<size_t>(tokens.dim(0) * kVocabulary), 0);
    for (int64_t r = 0; r < tokens.dim(0); ++r) {
      const int32_t token = tokens.as<int32_t>()[r];
      const int32_t next = next_id(inputs.ids.as<int32_t>()[token], inputs.positions.as<int32_t>()[token]);
      scored_[static_cast<size_t>(r * kVocabulary + next)] = 1;
    }
    return kernels::Tensor(scored_.data(), kernels::DType::f32, {tokens.dim(0), kVocabulary});
  }
  int64_t logits_at_once() const override { return 2; }
  void select_victims(const kernels::Stream&, const StepInputs& inputs, StepTimer& timer) override {
    victim_sequences.clear();
    for (int32_t r = 0; r < inputs.victim_rows.count; ++r) {
      victim_sequences.push_back(inputs.victim_rows.data[r].sequence);
    }
    const StepTimer::Span whole = timer.measure(StepPart::selection);
    clock_.advance(std::chrono::milliseconds(500));
    const StepTimer::Span reduction = timer.measure(StepPart::all_reduce);
    clock_.advance(std::chrono::milliseconds(125));
  }
  std::vector<int32_t> seen_ids, seen_positions, victim_sequences;
  std::vector<std::vector<int32_t>> asked_logits;

 private:
  monitoring::ManualClock& clock_;
  std::vector<float> logits_, scored_;
};

class ExecutorTest : public ::testing::Test {
 protected:
  StepPlan plan_of(std::vector<kernels::Row> rows, int32_t decodes, std::vector<int32_t> prompt) {
    StepPlan plan;
    plan.step = ++step_;
    plan.row_counts[static_cast<size_t>(RowKind::decode)] = decodes;
    plan.row_counts[static_cast<size_t>(RowKind::append)] = static_cast<int32_t>(rows.size()) - decodes;
    plan.rows = std::move(rows);
    plan.prompt_tokens = std::move(prompt);
    for (const kernels::Row& row : plan.rows) {
      kernels::SampleRow sample{};
      sample.top_p = 1;
      sample.token = kernels::last_position(row) - row.position + row.token_begin;
      sample.sequence = row.sequence;
      plan.samples.push_back(sample);
    }
    return plan;
  }
  kernels::Row row(int32_t sequence, int32_t position, int32_t token_begin, int32_t token_count) {
    kernels::Row made{};
    made.sequence = sequence;
    made.resident = made.position = position;
    made.token_begin = token_begin;
    made.token_count = token_count;
    made.queue_index = -1;
    made.keep = position + token_count;
    return made;
  }

  monitoring::ManualClock clock_;
  kernels::Stream stream_ = kernels::Stream::cpu();
  PureModel model_{clock_};
  KvCache cache_{stream_, {1, 1, 64, kernels::DType::f32, 4, 2, 1}, 8};
  LogitState logit_state_{stream_, 4, kVocabulary};
  Executor executor_{{&stream_, &model_, &cache_, &clock_, &logit_state_}, ReplicaFacts{}, {16, 4, 128}, {}};
  uint64_t step_ = 0;
};

TEST_F(ExecutorTest, DrawnIdsFeedTheNextStep) {
  StepPlan plan = plan_of({row(2, 0, 0, 3), row(0, 0, 3, 2)}, 0, {4, 5, 6, 9, 8});
  plan.page_tables = {{2, 0, {5, 1}}, {0, 0, {7}}};
  executor_.launch(plan);
  StepResult result = executor_.collect();
  EXPECT_EQ(result.step, 1U);
  EXPECT_EQ(result.ids, (std::vector<int32_t>{next_id(6, 2), next_id(8, 1)}));
  EXPECT_EQ(model_.seen_ids, (std::vector<int32_t>{4, 5, 6, 9, 8}));
  EXPECT_EQ(model_.seen_positions, (std::vector<int32_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(cache_.view().page_tables[4], 5);
  EXPECT_EQ(cache_.view().page_tables[0], 7);

  // Two decode rows in the other order, a new prompt behind them.
  executor_.launch(plan_of({row(0, 2, 0, 1), row(2, 3, 1, 1), row(1, 0, 2, 1)}, 2, {30}));
  EXPECT_EQ(model_.seen_ids, (std::vector<int32_t>{next_id(8, 1), next_id(6, 2), 30}));
  result = executor_.collect();
  EXPECT_EQ(result.ids,
            (std::vector<int32_t>{next_id(next_id(8, 1), 2), next_id(next_id(6, 2), 3), next_id(30, 0)}));
}

TEST_F(ExecutorTest, HandsOverVictimRowsAndReportsSeconds) {
  StepPlan plan = plan_of({row(3, 0, 0, 1), row(1, 0, 1, 1)}, 0, {1, 2});
  plan.rows[1].victims = 1;
  plan.victim_rows = {1};
  plan.samples.clear();
  executor_.launch(plan);
  const StepResult result = executor_.collect();
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(model_.victim_sequences, (std::vector<int32_t>{1}));
  EXPECT_DOUBLE_EQ(result.seconds.all_reduce, 0.375);
  EXPECT_DOUBLE_EQ(result.seconds.selection, 0.5);  // without the reduction inside of it
  EXPECT_DOUBLE_EQ(result.seconds.total, 0.875);
}

TEST_F(ExecutorTest, ScoresTokensInPassesAndAdjustsDrawsAlone) {
  StepPlan plan = plan_of({row(2, 0, 0, 3), row(0, 0, 3, 2)}, 0, {4, 5, 6, 9, 8});
  const int32_t banned = next_id(6, 2);
  plan.logit_entries = {{2, {{banned, 0}}}};
  plan.adjusted = {{2, 0, 0, 1, 1, 0, 0}, {kernels::kNoSequence, 0, 0, 0, 1, 0, 0}};
  plan.logprobs = {{0, 5, 0, 1}, {1, next_id(5, 1), 0, 1}, {2, -1, 0, 2}, {3, 8, 0, 0}, {4, -1, 1, 1}};
  executor_.launch(plan);
  const StepResult result = executor_.collect();
  EXPECT_EQ(result.ids, (std::vector<int32_t>{banned == 0 ? 1 : 0, next_id(8, 1)}));
  EXPECT_EQ(model_.asked_logits, (std::vector<std::vector<int32_t>>{{0, 1}, {2, 3}, {4}}));
  ASSERT_EQ(result.logprobs.size(), 5U);
  EXPECT_EQ(result.logprobs[0].id, 5);
  EXPECT_EQ(result.logprobs[0].top_ids[0], next_id(4, 0));
  EXPECT_EQ(result.logprobs[1].rank, 1);
  EXPECT_EQ(result.logprobs[2].id, result.ids[0]);
  EXPECT_EQ(result.logprobs[2].top_ids[0], banned) << "the model's own distribution, without the ban";
  EXPECT_EQ(result.logprobs[4].id, next_id(8, 1));
  EXPECT_EQ(result.logprobs[4].rank, 1);
}

TEST_F(ExecutorTest, CountsWhatDrawnIdsFeed) {
  StepPlan plan = plan_of({row(1, 0, 0, 2)}, 0, {4, 5});
  plan.counted = {{1, 0, 2, 2, 1}};
  executor_.launch(plan);
  const int32_t first = executor_.collect().ids[0];
  plan = plan_of({row(1, 2, 0, 1)}, 1, {});
  plan.counted = {{1, 0, 1, 0, 0}};
  plan.adjusted = {{1, 0, 0, 0, 1, 9, 0}};  // presence: only what was output
  executor_.launch(plan);
  executor_.collect();
  const auto* counts = logit_state_.tables().counts.as<int32_t>() + kVocabulary;
  for (int32_t id = 0; id < kVocabulary; ++id)
    EXPECT_EQ(counts[id], (id == 4 || id == 5 ? 1 : 0) + (id == first ? 2 : 0)) << id;
}

TEST_F(ExecutorTest, APlanBeyondTheLimitsIsOurBug) {
  const StepPlan plan = plan_of({row(0, 0, 0, 17)}, 0, std::vector<int32_t>(17, 1));
  EXPECT_DEATH(executor_.launch(plan), "CHECK failed.*17 vs. 16");
}

}  // namespace
}  // namespace batchmax::worker
