// The engine against the dense reference, step by step: every selection is judged by the reference's own
// scores, the logits must agree. A slot may be chosen otherwise only where its score is as good as the cut's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <tuple>

#include "tests/kernels/on_backend.h"
#include "tests/support/dense_reference.h"
#include "tests/support/engine.h"
#include "tests/support/random_model.h"

namespace batchmax::worker {
namespace {

using config::Mode;
using reference::Candidate;

// A score counts as equal to the cut within this share of it: both are sums of some hundred rounded terms.
constexpr double kEqualScores = 1e-5;
constexpr int kTrials = 5;  // of each score, scope and mode

// Judges the engine's choices by the reference's scores, and makes the reference follow them.
class Judge final : public reference::Chooser {
 public:
  Judge(Engine& engine, kernels::Score score, int32_t last_position)
      : engine_(engine), score_(score), last_position_(last_position) {}

  void look_at(const kernels::Row& row) { row_ = row; }
  int selections() const { return selections_; }

  std::vector<int32_t> survivors(int32_t layer, int32_t head, const std::vector<Candidate>& candidates,
                                 int32_t keep) override {
    ++selections_;
    EXPECT_EQ(row_.keep, keep);
    std::vector<int32_t> chosen = engine_.positions(row_.sequence, layer, head, keep);
    const std::set<int32_t> stay(chosen.begin(), chosen.end());
    EXPECT_EQ(stay.size(), chosen.size()) << "a position is held twice";
    const std::vector<Candidate> order = reference::in_order_of_leaving(candidates);
    const size_t leaving = candidates.size() - static_cast<size_t>(keep);
    const double cut = order[leaving - 1].score;
    size_t known = 0;
    for (const Candidate& candidate : candidates) {
      const bool stays = stay.contains(candidate.position);
      known += stays ? 1 : 0;
      EXPECT_TRUE(stays || !candidate.is_protected)
          << "protected position " << candidate.position << place(layer, head);
    }
    EXPECT_EQ(known, stay.size()) << "a position that is no candidate" << place(layer, head);
    for (size_t i = 0; i < order.size(); ++i) {
      if (stay.contains(order[i].position) == (i >= leaving)) continue;
      EXPECT_LE(std::abs(order[i].score - cut), tolerance(cut))
          << "position " << order[i].position << " scores " << order[i].score << ", the cut is " << cut
          << place(layer, head);
    }
    return chosen;
  }

  std::vector<int32_t> victims(int32_t layer, int32_t head, const std::vector<Candidate>& candidates,
                               int32_t count) override {
    if (kernels::last_position(row_) == last_position_) return {};  // nothing comes that could need the room
    ++selections_;
    EXPECT_EQ(row_.victims, count);
    const std::vector<int32_t> held = engine_.positions(row_.sequence, layer, head, row_.keep);
    const std::vector<Candidate> order = reference::in_order_of_leaving(candidates);
    std::vector<int32_t> chosen;
    for (const int32_t slot : engine_.queue(row_.sequence, layer, head, count)) {
      const int32_t position = held.at(static_cast<size_t>(slot));
      const double wanted = order[chosen.size()].score;
      const auto found = std::find_if(order.begin(), order.end(), [&](const Candidate& candidate) {
        return candidate.position == position;
      });
      if (found == order.end()) {
        ADD_FAILURE() << "position " << position << " may not go" << place(layer, head);
      } else {
        EXPECT_LE(std::abs(found->score - wanted), tolerance(wanted))
            << "victim " << chosen.size() << ": position " << position << place(layer, head);
      }
      chosen.push_back(position);
    }
    EXPECT_EQ(std::set<int32_t>(chosen.begin(), chosen.end()).size(), chosen.size());
    return chosen;
  }

 private:
  // A cosine is measured against 1, whatever its own size.
  double tolerance(double cut) const {
    return kEqualScores * (score_ == kernels::Score::key_diff ? 1.0 : std::abs(cut));
  }
  std::string place(int32_t layer, int32_t head) const {
    return " (layer " + std::to_string(layer) + ", head " + std::to_string(head) + ", step at position " +
           std::to_string(row_.position) + ")";
  }
  Engine& engine_;
  kernels::Score score_;
  int32_t last_position_;  // that the engine processes: the token drawn after it is the last
  kernels::Row row_{};
  int selections_ = 0;
};

reference::Score same_score(kernels::Score score) {
  switch (score) {
    case kernels::Score::average:
      return reference::Score::average;
    case kernels::Score::key_distance:
      return reference::Score::key_distance;
    case kernels::Score::key_diff:
      return reference::Score::key_diff;
    case kernels::Score::recency:
      return reference::Score::recency;
    case kernels::Score::random:
      return reference::Score::random;
  }
  return reference::Score::random;
}

struct Trial {
  int32_t kv_heads, group, head_dim, prompt, max_tokens;
  config::Compression compression;
  uint32_t seed;
};

std::ostream& operator<<(std::ostream& out, const Trial& trial) {
  const config::Compression& c = trial.compression;
  return out << "kv_heads " << trial.kv_heads << " group " << trial.group << " head_dim " << trial.head_dim
             << " prompt " << trial.prompt << " max_tokens " << trial.max_tokens << " budget " << c.budget
             << " block " << c.block << " sinks " << c.sinks << " recent " << c.recent << " tail "
             << c.prompt_tail << " decode_block " << c.decode_block << " seed " << trial.seed;
}

Trial random_trial(std::mt19937& random, Mode mode) {
  const auto pick = [&](int32_t least, int32_t most) {
    return least + static_cast<int32_t>(random() % static_cast<uint32_t>(most - least + 1));
  };
  Trial trial{};
  trial.group = 1 << pick(0, 3);
  trial.kv_heads = trial.group == 8 ? 1 : pick(1, 3);
  trial.head_dim = std::vector<int32_t>{64, 96, 128}[static_cast<size_t>(pick(0, 2))];
  config::Compression& c = trial.compression;
  c.mode = mode;
  c.budget = pick(0, 3) == 0 ? pick(65, 100) : pick(8, 60);
  c.block = pick(0, 4) == 0 ? 1 : pick(1, c.budget / 2);
  c.sinks = pick(0, 3);
  c.recent = pick(1, std::max(1, c.budget / 4));
  c.prompt_tail = std::min(pick(0, c.recent), c.budget - c.sinks - c.recent - 2);
  c.decode_block = pick(1, 8);
  trial.prompt = pick(0, 5) == 0 ? pick(1, c.budget) : pick(c.budget, 3 * c.budget + 20);
  trial.max_tokens = pick(2, 30);
  trial.seed = random();
  return trial;
}

std::vector<int32_t> sorted(std::vector<int32_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

// Runs the trial on both; returns how many selections were compared.
int compare(kernels::Backend backend, const Trial& trial, const SelectionRule& rule) {
  EngineOptions options;
  options.backend = backend;
  options.model = random_model(trial.kv_heads, trial.group, trial.head_dim, 2);
  options.rule = rule;
  options.limits = {trial.compression.block + 1, 1, 512};
  options.decode_block = trial.compression.decode_block;
  UnevenWeights weights(trial.seed);
  const auto groups = comm::make_thread_tensor_groups(1);
  Engine engine(options, weights, *groups[0]);
  SequenceRequest request =
      greedy_request(trial.seed, random_tokens(trial.prompt, options.model.vocab_size, trial.seed),
                     trial.max_tokens, trial.compression);
  Judge judge(engine, rule.score, trial.prompt + trial.max_tokens - 2);
  reference::DenseReference dense(
      options.model, weights,
      {trial.compression, same_score(rule.score), rule.layer_scope, trial.seed, trial.prompt}, judge);

  int32_t last_token = -1;
  run_requests(engine, std::span(&request, 1), [&](const StepPlan& plan) {
    const kernels::Row& row = plan.rows.at(0);
    judge.look_at(row);
    const std::vector<double> expected =
        plan.prompt_tokens.empty() ? dense.step(std::span(&last_token, 1)) : dense.step(plan.prompt_tokens);
    for (int32_t layer = 0; layer < options.model.layers; ++layer) {
      for (int32_t head = 0; head < trial.kv_heads; ++head) {
        const std::vector<reference::Slot>& held = dense.slots(layer, head);
        ASSERT_EQ(static_cast<int32_t>(held.size()), row.keep);
        const std::vector<int32_t> positions = engine.positions(0, layer, head, row.keep);
        std::vector<int32_t> wanted;
        for (const reference::Slot& slot : held) wanted.push_back(slot.position);
        ASSERT_EQ(sorted(positions), sorted(wanted)) << "layer " << layer << " head " << head;
        if (!kernels::needs_mass(rule.score) || trial.compression.mode == Mode::off) continue;
        const std::vector<float> masses = engine.masses(0, layer, head, row.keep);
        for (size_t i = 0; i < positions.size(); ++i) {
          const auto slot = std::find_if(
              held.begin(), held.end(), [&](const reference::Slot& s) { return s.position == positions[i]; });
          ASSERT_NEAR(masses[i], slot->mass, 1e-4 * slot->mass + 1e-6) << "mass of position " << positions[i];
        }
      }
    }
    if (plan.samples.empty()) return;
    const std::vector<float>& logits = engine.logits().at(0);
    for (size_t id = 0; id < expected.size(); ++id) {
      ASSERT_NEAR(logits[id], expected[id], 2e-4 * (1 + std::abs(expected[id])))
          << "id " << id << " after position " << kernels::last_position(row);
    }
    last_token = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  });
  return judge.selections();
}

class AgainstDenseReference
    : public ::testing::TestWithParam<std::tuple<kernels::Backend, kernels::Score, bool, Mode>> {};

TEST_P(AgainstDenseReference, SameSelectionsAndLogits) {
  const auto& [backend, score, layer_scope, mode] = GetParam();
  std::mt19937 random(static_cast<uint32_t>(score) * 10 + (layer_scope ? 1 : 0) +
                      static_cast<uint32_t>(mode) * 100);
  int selections = 0;
  for (int i = 0; i < kTrials; ++i) {
    const Trial trial = random_trial(random, mode);
    SCOPED_TRACE(::testing::Message() << trial);
    selections += compare(backend, trial, {score, layer_scope});
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  EXPECT_EQ(selections > 0, mode != Mode::off);
}

std::string name_of_case(const AgainstDenseReference::ParamType& parameter) {
  const auto& [backend, score, layer_scope, mode] = parameter;
  return std::string(backend == kernels::Backend::cuda ? "cuda_" : "cpu_") + kernels::name_of(score) +
         (layer_scope ? "_layer_" : "_head_") + config::name_of(mode);
}

INSTANTIATE_TEST_SUITE_P(
    Scores, AgainstDenseReference,
    ::testing::Combine(::testing::ValuesIn(kernels::testing::backends()),
                       ::testing::Values(kernels::Score::average, kernels::Score::key_distance,
                                         kernels::Score::key_diff, kernels::Score::recency,
                                         kernels::Score::random),
                       ::testing::Bool(), ::testing::Values(Mode::decode, Mode::full)),
    [](const auto& trial) { return name_of_case(trial.param); });
INSTANTIATE_TEST_SUITE_P(Off, AgainstDenseReference,
                         ::testing::Combine(::testing::ValuesIn(kernels::testing::backends()),
                                            ::testing::Values(kernels::Score::average),
                                            ::testing::Values(false), ::testing::Values(Mode::off)),
                         [](const auto& trial) { return name_of_case(trial.param); });

}  // namespace
}  // namespace batchmax::worker
