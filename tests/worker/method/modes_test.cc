// What the three modes promise: the same numbers while nothing is evicted, never more slots than the budget,
// never a protected position lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "kernels/linear/linear.h"
#include "tests/kernels/on_backend.h"
#include "tests/support/engine.h"
#include "tests/support/random_model.h"

namespace batchmax::worker {
namespace {

using config::Compression;
using config::Mode;

Compression compression(Mode mode, int32_t budget, int32_t block) {
  Compression rule;
  rule.mode = mode;
  rule.budget = budget;
  rule.block = block;
  rule.sinks = 2;
  rule.recent = std::max(1, budget / 4);
  rule.prompt_tail = std::min(5, rule.recent);
  rule.decode_block = 4;
  return rule;
}

struct Precision {
  kernels::Backend backend;
  kernels::Score score;
  kernels::DType compute;
  kernels::DType kv;
};

// Logits of every step of three requests that run together.
std::vector<std::vector<float>> all_logits(Mode mode, const Precision& precision) {
  EngineOptions options;
  options.model = random_model(2, 2, 64, 2);
  options.backend = precision.backend;
  options.rule.score = precision.score;
  options.compute = precision.compute;
  options.kv = precision.kv;
  options.limits = {128, 4, 512};
  const auto groups = comm::make_thread_tensor_groups(1);
  UnevenWeights weights(5);
  Engine engine(options, weights, *groups[0]);
  std::vector<SequenceRequest> requests;
  for (const int32_t length : {70, 33, 131}) {
    const int32_t enough = length + 20;
    requests.push_back(greedy_request(static_cast<uint64_t>(length), random_tokens(length, 64, 3), 20,
                                      compression(mode, enough, 16)));
  }
  std::vector<std::vector<float>> logits;
  run_requests(engine, requests, [&](const StepPlan&) {
    logits.insert(logits.end(), engine.logits().begin(), engine.logits().end());
  });
  return logits;
}

using Modes = kernels::testing::OnBackend;

TEST_P(Modes, GiveTheSameBitsWhileNothingIsEvicted) {
  const kernels::DType preferred = kernels::preferred_compute(stream_);
  for (const kernels::Score score : {kernels::Score::average, kernels::Score::key_distance}) {
    for (const auto& [compute, kv] :
         {std::pair{kernels::DType::f32, kernels::DType::f32},
          std::pair{kernels::DType::f32, kernels::DType::bf16}, std::pair{preferred, kernels::DType::bf16}}) {
      SCOPED_TRACE(::testing::Message() << kernels::name_of(score) << " compute " << kernels::name_of(compute)
                                        << " KV " << kernels::name_of(kv));
      const auto off = all_logits(Mode::off, {GetParam(), score, compute, kv});
      ASSERT_EQ(off.size(), 60U);
      EXPECT_EQ(all_logits(Mode::decode, {GetParam(), score, compute, kv}), off);
      EXPECT_EQ(all_logits(Mode::full, {GetParam(), score, compute, kv}), off);
    }
  }
}

// Every slot that a request holds after a step, checked against what the method allows.
void check_slots(const Engine& engine, const EngineOptions& options, const kernels::Row& row,
                 const SequenceRequest& request) {
  const Compression& rule = request.compression;
  const int32_t now = kernels::last_position(row);
  const bool prompt_over = now >= request.prompt_length - 1;
  const bool bounded = rule.mode == Mode::full || (rule.mode == Mode::decode && prompt_over);
  EXPECT_TRUE(!bounded || row.keep <= rule.budget) << row.keep << " slots at budget " << rule.budget;
  for (int32_t layer = 0; layer < options.model.layers; ++layer) {
    for (int32_t head = 0; head < options.model.kv_heads; ++head) {
      const std::vector<int32_t> positions = engine.positions(row.sequence, layer, head, row.keep);
      const std::set<int32_t> held(positions.begin(), positions.end());
      ASSERT_EQ(held.size(), positions.size()) << "a position is held twice";
      ASSERT_GE(*held.begin(), 0);
      ASSERT_LE(*held.rbegin(), now) << "negative age";
      for (int32_t position = 0; position <= now; ++position) {
        const bool tail =
            position >= request.prompt_length - rule.prompt_tail && position < request.prompt_length;
        const bool must_stay =
            position < rule.sinks || position > now - rule.recent || position == now || (prompt_over && tail);
        if (must_stay) {
          ASSERT_TRUE(held.contains(position)) << "protected position " << position << " is gone at " << now;
        }
      }
      for (const float mass : engine.masses(row.sequence, layer, head, row.keep)) {
        ASSERT_TRUE(std::isfinite(mass) && mass >= 0) << mass;
      }
    }
  }
}

TEST_P(Modes, KeepWithinTheBudgetAndWhatIsProtected) {
  for (const kernels::Score score :
       {kernels::Score::average, kernels::Score::key_distance, kernels::Score::random}) {
    for (const bool layer_scope : {false, true}) {
      SCOPED_TRACE(::testing::Message() << kernels::name_of(score) << (layer_scope ? " layer" : " head"));
      EngineOptions options;
      options.backend = GetParam();
      options.model = random_model(2, 2, 64, 2);
      options.rule = {score, layer_scope};
      options.limits = {64, 6, 512};
      options.decode_block = 4;
      const auto groups = comm::make_thread_tensor_groups(1);
      UnevenWeights weights(8);
      Engine engine(options, weights, *groups[0]);
      std::vector<SequenceRequest> requests;
      const auto add = [&](int32_t prompt, int32_t max_tokens, const Compression& rule) {
        const auto id = static_cast<uint64_t>(requests.size() + 1);
        requests.push_back(
            greedy_request(id, random_tokens(prompt, 64, static_cast<uint32_t>(id)), max_tokens, rule));
      };
      add(200, 60, compression(Mode::full, 40, 16));
      add(150, 90, compression(Mode::full, 70, 32));
      add(97, 30, compression(Mode::decode, 41, 16));
      add(60, 30, compression(Mode::off, 64, 16));
      add(20, 90, compression(Mode::decode, 30, 8));
      add(31, 40, compression(Mode::full, 12, 1));
      run_requests(engine, requests, [&](const StepPlan& plan) {
        for (const kernels::Row& row : plan.rows) {
          const auto request = std::find_if(requests.begin(), requests.end(), [&](const SequenceRequest& r) {
            return r.sampling.seed == row.seed;
          });
          ASSERT_NO_FATAL_FAILURE(check_slots(engine, options, row, *request));
        }
      });
    }
  }
}

TEST_P(Modes, LayerScopeKeepsTheSameSlotsInEveryHead) {
  EngineOptions options;
  options.backend = GetParam();
  options.model = random_model(4, 1, 64, 2);
  options.rule = {kernels::Score::average, true};
  options.limits = {64, 2, 512};
  options.decode_block = 4;
  const auto groups = comm::make_thread_tensor_groups(1);
  UnevenWeights weights(9);
  Engine engine(options, weights, *groups[0]);
  const SequenceRequest request =
      greedy_request(1, random_tokens(150, 64, 2), 40, compression(Mode::full, 48, 16));
  run_requests(engine, std::span(&request, 1), [&](const StepPlan& plan) {
    const kernels::Row& row = plan.rows.at(0);
    for (int32_t layer = 0; layer < 2; ++layer) {
      const auto first = engine.positions(0, layer, 0, row.keep);
      for (int32_t head = 1; head < 4; ++head) ASSERT_EQ(engine.positions(0, layer, head, row.keep), first);
    }
  });
}

BATCHMAX_ON_BACKENDS(Modes);

}  // namespace
}  // namespace batchmax::worker
