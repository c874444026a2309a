#include "worker/plan/step_plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>

namespace batchmax::worker {
namespace {

kernels::Row row(int32_t sequence, int32_t resident, int32_t begin, int32_t count, int32_t position,
                 int32_t keep) {
  kernels::Row made{};
  made.sequence = sequence;
  made.resident = resident;
  made.token_begin = begin;
  made.token_count = count;
  made.position = position;
  made.queue_index = -1;
  made.keep = keep;
  made.sinks = 4;
  made.recent = 16;
  made.seed = 0x0123456789abcdefULL;
  return made;
}

// One row of each kind.
StepPlan sample_plan() {
  StepPlan plan;
  plan.step = 77;
  plan.rows = {row(3, 64, 0, 1, 200, 64), row(1, 10, 1, 1, 10, 11), row(0, 0, 2, 16, 0, 16),
               row(2, 60, 18, 30, 60, 64), row(4, 64, 48, 32, 96, 64)};
  plan.rows[0].queue_index = 5;
  plan.rows[3].victims = 8;
  plan.row_counts = {1, 1, 1, 1, 1};
  for (int32_t i = 0; i < 16 + 30 + 32; ++i) plan.prompt_tokens.push_back(i * 7);
  plan.samples = {
      {1, 0, 201, 0.5F, 0.9F, 0.1F, 40, 0, 3}, {2, 1, 11, 0, 1, 0, 0, 1, 1}, {3, 0, 90, 1, 1, 0, 0, 47, 2}};
  plan.victim_rows = {3};
  plan.page_tables = {{0, 0, {5, 6, 1}}, {4, 2, {9}}};
  plan.counted = {{0, 2, 16, 16, 1}, {3, 0, 1, 0, 0}};
  plan.adjusted = {
      {3, 2, 2, 1, 1.1F, 0, 0}, {kernels::kNoSequence, 0, 0, 0, 1, 0, 0}, {2, 0, 0, 0, 1, 0.5F, -1}};
  plan.logprobs = {{0, -1, 0, 20}, {5, 33, 0, 0}, {47, -1, 2, 3}};
  plan.logit_entries = {{3, {{5, 0.5F}, {6, -2}, {0, 0}}}};
  return plan;
}

void expect_equal(const StepPlan& a, const StepPlan& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.row_counts, b.row_counts);
  ASSERT_EQ(a.rows.size(), b.rows.size());
  if (!a.rows.empty()) {
    EXPECT_EQ(std::memcmp(a.rows.data(), b.rows.data(), a.rows.size() * sizeof(kernels::Row)), 0);
  }
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  ASSERT_EQ(a.samples.size(), b.samples.size());
  if (!a.samples.empty()) {
    EXPECT_EQ(std::memcmp(a.samples.data(), b.samples.data(), a.samples.size() * sizeof(kernels::SampleRow)),
              0);
  }
  EXPECT_EQ(a.victim_rows, b.victim_rows);
  const auto same_bytes = [](const auto& left, const auto& right) {
    return left.size() == right.size() &&
           std::memcmp(left.data(), right.data(), left.size() * sizeof(left[0])) == 0;
  };
  EXPECT_TRUE(a.counted.empty() ? b.counted.empty() : same_bytes(a.counted, b.counted));
  EXPECT_TRUE(a.adjusted.empty() ? b.adjusted.empty() : same_bytes(a.adjusted, b.adjusted));
  EXPECT_TRUE(a.logprobs.empty() ? b.logprobs.empty() : same_bytes(a.logprobs, b.logprobs));
  ASSERT_EQ(a.logit_entries.size(), b.logit_entries.size());
  for (size_t i = 0; i < a.logit_entries.size(); ++i) {
    EXPECT_EQ(a.logit_entries[i].sequence, b.logit_entries[i].sequence);
    EXPECT_TRUE(same_bytes(a.logit_entries[i].entries, b.logit_entries[i].entries));
  }
  ASSERT_EQ(a.page_tables.size(), b.page_tables.size());
  for (size_t i = 0; i < a.page_tables.size(); ++i) {
    EXPECT_EQ(a.page_tables[i].sequence, b.page_tables[i].sequence);
    EXPECT_EQ(a.page_tables[i].first, b.page_tables[i].first);
    EXPECT_EQ(a.page_tables[i].pages, b.page_tables[i].pages);
  }
}

TEST(StepPlan, TravelsUnchanged) {
  const StepPlan plan = sample_plan();
  ASSERT_EQ(plan_fault(plan), std::nullopt);
  expect_equal(deserialize_step_plan(serialize(plan)), plan);
  for (const StepKind kind : {StepKind::ping, StepKind::shutdown}) {
    StepPlan bare;
    bare.step = 1;
    bare.kind = kind;
    expect_equal(deserialize_step_plan(serialize(bare)), bare);
  }
}

TEST(StepPlan, CountsRowsByKind) {
  StepPlan plan;
  plan.row_counts = {2, 3, 0, 1, 4};
  EXPECT_EQ(plan.begin_of(RowKind::decode_mass), 0);
  EXPECT_EQ(plan.begin_of(RowKind::decode), 2);
  EXPECT_EQ(plan.begin_of(RowKind::append), 5);
  EXPECT_EQ(plan.begin_of(RowKind::compact), 5);
  EXPECT_EQ(plan.begin_of(RowKind::replace), 6);
  EXPECT_EQ(plan.decode_rows(), 5);
}

TEST(StepPlan, EveryFaultIsRefused) {
  const std::vector<std::function<void(StepPlan&)>> faults = {
      [](StepPlan& p) { p.row_counts[0] = 2; },
      [](StepPlan& p) { std::swap(p.row_counts[0], p.rows[0].sequence); },
      [](StepPlan& p) { std::swap(p.rows[2], p.rows[3]); },
      [](StepPlan& p) { p.rows[1].token_begin = 2; },
      [](StepPlan& p) { p.rows[1].sequence = -1; },
      [](StepPlan& p) { p.rows[1].keep = 12; },
      [](StepPlan& p) { p.rows[0].keep = 65; },
      [](StepPlan& p) { p.rows[0].token_count = 0; },
      [](StepPlan& p) { p.rows[4].keep = 96; },
      [](StepPlan& p) { p.rows[4].position = 2147483640; },
      [](StepPlan& p) { p.rows[3].victims = 64; },
      [](StepPlan& p) { p.rows[4].victims = 1; },
      [](StepPlan& p) { p.prompt_tokens.pop_back(); },
      [](StepPlan& p) { p.samples[2].token = 80; },
      [](StepPlan& p) { std::swap(p.samples[0], p.samples[1]); },
      [](StepPlan& p) { p.samples[0].sequence = -3; },
      [](StepPlan& p) {
        p.victim_rows = {3, 3};
      },
      [](StepPlan& p) { p.victim_rows = {5}; },
      [](StepPlan& p) { p.victim_rows = {-1}; },
      [](StepPlan& p) { p.victim_rows.clear(); },
      [](StepPlan& p) { p.page_tables[0].pages[1] = -5; },
      [](StepPlan& p) { p.page_tables[0].pages.clear(); },
      [](StepPlan& p) { p.page_tables[0].first = -1; },
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    StepPlan plan = sample_plan();
    faults[i](plan);
    EXPECT_NE(plan_fault(plan), std::nullopt) << i;
    EXPECT_THROW(deserialize_step_plan(serialize(plan)), std::runtime_error) << i;
  }
}

// Whatever arrives: an exception, or a plan without a fault. Never a crash.
TEST(StepPlan, GarbageIsRefused) {
  EXPECT_THROW(deserialize_step_plan({}), std::runtime_error);
  const std::vector<std::byte> good = serialize(sample_plan());
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = good;
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int edit = 0; edit < edits && !bytes.empty(); ++edit) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<std::byte>(random());
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::byte>(random()));
          break;
        default:
          bytes[at] ^= static_cast<std::byte>(1U << (random() % 8));
          break;
      }
    }
    try {
      EXPECT_EQ(plan_fault(deserialize_step_plan(bytes)), std::nullopt);
    } catch (const std::runtime_error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace batchmax::worker
