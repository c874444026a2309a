// A golden prompt as one rank of a group runs it, and how far its logits are from those of transformers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "comm/group/tensor_group.h"
#include "tests/support/engine.h"
#include "tests/support/golden_data.h"

namespace batchmax::worker {

// A rank that holds its part of a golden checkpoint.
class GoldenRank {
 public:
  // place: backend, device and dtypes are taken from it.
  GoldenRank(const std::string& name, const EngineOptions& place, comm::TensorGroup& group)
      : golden(read_golden(BATCHMAX_SOURCE_DIR, name)),
        options(options_for(golden, place)),
        engine(options, *checkpoint_source(golden.checkpoint), group) {}

  // The prompt in blocks of `block`, drawing at every golden position. Returns the greatest |difference| of a
  // logit.
  float greatest_difference(int32_t block) {
    const auto prompt = static_cast<int32_t>(golden.prompt.size());
    float greatest = 0;
    size_t next = 0;
    for (int32_t begin = 0; begin < prompt; begin += block) {
      StepPlan plan = plan_of(begin, std::min(block, prompt - begin));
      const size_t first = next;
      for (; next < golden.positions.size() && golden.positions[next] < plan.rows[0].keep; ++next) {
        kernels::SampleRow sample{};
        sample.top_p = 1;
        sample.position = golden.positions[next] + 1;
        sample.token = golden.positions[next] - begin;
        plan.samples.push_back(sample);
      }
      engine.executor().launch(plan);
      engine.executor().collect();
      for (size_t i = first; i < next; ++i) {
        const std::vector<float>& got = engine.logits().at(i - first);
        for (size_t id = 0; id < golden.logits[i].size(); ++id) {
          const float difference = std::abs(got.at(id) - golden.logits[i][id]);
          EXPECT_FALSE(std::isnan(difference));
          greatest = std::max(greatest, difference);
        }
      }
    }
    EXPECT_EQ(next, golden.positions.size());
    return greatest;
  }

  // |logit| at most, and what a difference is measured by.
  float largest_logit() const {
    float most = 1;
    for (const auto& row : golden.logits) {
      for (const float logit : row) most = std::max(most, std::abs(logit));
    }
    return most;
  }
  // In fp32 the order of sums. In bf16 8 bits of mantissa in weights, activations and KV: the logits move by
  // about the rounding of every layer.
  float tolerance() const {
    return (options.compute == kernels::DType::f32 ? 1e-4F : 0.06F) * largest_logit();
  }

  const Golden golden;
  const EngineOptions options;
  Engine engine;

 private:
  static EngineOptions options_for(const Golden& golden, const EngineOptions& place) {
    EngineOptions options = place;
    options.model = read_model_config(golden.checkpoint);
    const auto length = static_cast<int32_t>(golden.prompt.size() + golden.greedy.size());
    options.limits = {256, 64, length};
    options.pages = (length + kernels::kPageSlots - 1) / kernels::kPageSlots;
    return options;
  }

  StepPlan plan_of(int32_t begin, int32_t tokens) const {
    StepPlan plan;
    kernels::Row row{};
    row.resident = row.position = begin;
    row.token_count = tokens;
    row.queue_index = -1;
    row.rope_table = static_cast<int32_t>(golden.prompt.size()) > short_rope_positions(options.model) ? 1 : 0;
    row.keep = begin + tokens;
    plan.rows.push_back(row);
    plan.row_counts[static_cast<size_t>(RowKind::append)] = 1;
    plan.prompt_tokens.assign(golden.prompt.begin() + begin, golden.prompt.begin() + row.keep);
    if (begin == 0) {
      plan.page_tables.push_back({0, 0, {}});
      for (int32_t page = 0; page < options.pages; ++page) plan.page_tables[0].pages.push_back(page);
    }
    return plan;
  }
};

// The same of every rank of a group, over the checkpoints whose KV heads so many ranks can share.
// tiny-llama-2 has an output layer that they cannot share.
inline void expect_golden_logits(const EngineOptions& place, comm::TensorGroup& group) {
  std::vector<const char*> names{"tiny-llama-ranks", "longbook-17m"};
  if (group.size() <= 2) names.insert(names.end(), {"tiny-llama-2", "tiny-phi3-ranks"});
  for (const char* name : names) {
    GoldenRank rank(name, place, group);
    const float greatest = rank.greatest_difference(256);
    if (group.rank() == 0) {
      std::printf("%s in %s, %d ranks: max |difference of logits| %.2e\n", name,
                  kernels::name_of(place.compute), group.size(), static_cast<double>(greatest));
    }
    EXPECT_LT(greatest, rank.tolerance()) << name << " in " << kernels::name_of(place.compute) << ", rank "
                                          << group.rank() << " of " << group.size();
  }
}

}  // namespace batchmax::worker
