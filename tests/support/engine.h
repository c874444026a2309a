// One rank of the real engine inside a test: transformer, cache and executor on a backend, driven by plans,
// with a window on logits and cache. One thread.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "comm/group/tensor_group.h"
#include "config/compression.h"
#include "monitoring/clock.h"
#include "worker/executor/executor.h"
#include "worker/kv/kv_cache.h"
#include "worker/leader/scheduler.h"
#include "worker/model/model_config.h"
#include "worker/model/rope.h"
#include "worker/model/transformer.h"
#include "worker/model/weight_source.h"
#include "worker/model/weights.h"

namespace batchmax::worker {

struct EngineOptions {
  ModelConfig model;
  SelectionRule rule;
  kernels::DType compute = kernels::DType::f32;
  kernels::DType kv = kernels::DType::f32;
  StepLimits limits{512, 8, 512};
  int32_t pages = 64;
  int32_t decode_block = 16;
  kernels::Backend backend = kernels::Backend::cpu;
  int device = 0;
  bool graphs = false;  // decode steps as graphs; logits() stay empty then
  int lookahead = 0;
};

// Keeps the logits of the last forward pass.
class WatchedModel final : public Model {
 public:
  explicit WatchedModel(Model& model) : model_(model) {}
  kernels::Tensor forward(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) override;
  void select_victims(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) override {
    model_.select_victims(stream, inputs, timer);
  }
  kernels::Tensor logits_of(const kernels::Stream& stream, const StepInputs& inputs,
                            const kernels::Tensor& tokens) override {
    return model_.logits_of(stream, inputs, tokens);
  }
  int64_t logits_at_once() const override { return model_.logits_at_once(); }
  const std::vector<std::vector<float>>& logits() const { return logits_; }  // [R][V]

 private:
  Model& model_;
  std::vector<std::vector<float>> logits_;
};

class Engine {
 public:
  Engine(const EngineOptions& options, WeightSource& source, comm::TensorGroup& group);

  Executor& executor() { return *executor_; }
  const std::vector<std::vector<float>>& logits() const { return watched_->logits(); }
  // Positions and masses in the slots of a sequence.
  std::vector<int32_t> positions(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const;
  std::vector<float> masses(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const;
  // The first `count` entries of a victim queue, as slots.
  std::vector<int32_t> queue(int32_t sequence, int32_t layer, int32_t head, int32_t count) const;
  SchedulerLimits scheduler_limits() const;
  const monitoring::Clock& clock() const { return clock_; }

 private:
  // A sequence's part of kv.pos or kv.mass.
  template <typename T>
  std::vector<T> slots_of(const T* table, int32_t sequence, int32_t layer, int32_t head, int32_t slots) const;
  template <typename T>
  std::vector<T> read(const T* from, size_t count) const;

  monitoring::SteadyClock clock_;
  EngineOptions options_;
  kernels::Stream stream_;
  Weights weights_;
  std::optional<RopeTables> rope_;
  kernels::Buffer scratch_;
  std::optional<KvCache> cache_;
  std::optional<Transformer> model_;
  std::optional<WatchedModel> watched_;
  std::optional<LogitState> logit_state_;
  std::optional<Executor> executor_;
};

// Runs the requests to their ends, all submitted at once; the tokens of each, in the order given. after_step
// sees every plan when it has been executed.
using AfterStep = std::function<void(const StepPlan&)>;
std::vector<std::vector<int32_t>> run_requests(Engine& engine, std::span<const SequenceRequest> requests,
                                               const AfterStep& after_step);

SequenceRequest greedy_request(uint64_t id, std::vector<int32_t> prompt, int32_t max_tokens,
                               const config::Compression& compression);

}  // namespace batchmax::worker
