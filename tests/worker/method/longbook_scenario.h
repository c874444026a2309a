// Requests to the shipped model while eviction goes on, as one rank runs them. A trained model's best tokens
// lead by far more than rounding, so its answers are the same on every backend and for any number of ranks; a
// random model's may turn on a tie.
#pragma once

#include <string>
#include <vector>

#include "tests/support/engine.h"
#include "tests/support/golden_data.h"

namespace batchmax::worker {

// place: backend, device, graphs, lookahead are taken from it;
// fp32.
inline std::vector<std::vector<int32_t>> answer_from_longbook(const SelectionRule& rule,
                                                              comm::TensorGroup& group,
                                                              const EngineOptions& place) {
  const Golden golden = read_golden(BATCHMAX_SOURCE_DIR, "longbook-17m");
  EngineOptions options = place;
  options.model = read_model_config(golden.checkpoint);
  options.rule = rule;
  options.limits = {512, 3, 2048};
  options.pages = 96;
  const auto source = checkpoint_source(golden.checkpoint);
  Engine engine(options, *source, group);
  std::vector<SequenceRequest> requests;
  const auto add = [&](size_t tokens, config::Mode mode, int32_t budget, int32_t block) {
    config::Compression compression;
    compression.mode = mode;
    compression.budget = budget;
    compression.block = block;
    compression.sinks = 4;
    compression.recent = budget / 4;
    compression.prompt_tail = 32;
    const auto end = golden.prompt.end();
    requests.push_back(
        greedy_request(requests.size() + 1, {end - static_cast<int64_t>(tokens), end}, 16, compression));
  };
  add(golden.prompt.size(), config::Mode::full, 512, 128);
  add(1000, config::Mode::full, 256, 64);
  add(700, config::Mode::decode, 300, 128);
  return run_requests(engine, requests, [](const StepPlan&) {});
}

}  // namespace batchmax::worker
