#include "tests/support/engine.h"

#include <cstring>
#include <map>
#include <variant>

#include "monitoring/check.h"

namespace batchmax::worker {

kernels::Tensor WatchedModel::forward(const kernels::Stream& stream, const StepInputs& inputs,
                                      PartSeconds& seconds) {
  const kernels::Tensor logits = model_.forward(stream, inputs, seconds);
  logits_.clear();
  for (size_t row = 0; row < inputs.plan->samples.size(); ++row) {
    const float* from = logits.as<float>() + static_cast<int64_t>(row) * logits.dim(1);
    logits_.emplace_back(from, from + logits.dim(1));
  }
  return logits;
}

Engine::Engine(const EngineOptions& options, WeightSource& source, comm::TensorGroup& group)
    : options_(options) {
  const Shard shard{group.rank(), group.size()};
  check_tensor_parallel(options.model, shard.size);
  const LocalShape shape = local_shape(options.model, shard, options.compute, options.kv);
  weights_ = load_weights(stream_, options.model, shard, options.compute, source, [](double) {});
  rope_.emplace(stream_, options.model, options.limits.length);
  scratch_ = kernels::Buffer(stream_, step_bytes(stream_, shape, options.rule.needs(), options.limits));
  const int32_t table = (options.limits.length + kernels::kPageSlots - 1) / kernels::kPageSlots;
  const KvShape kv{shape.layers,
                   static_cast<int32_t>(shape.kv_heads),
                   static_cast<int32_t>(shape.head_dim),
                   options.kv,
                   options.limits.sequences,
                   table,
                   options.decode_block};
  cache_.emplace(stream_, kv, options.pages);
  Transformer::Parts parts;
  parts.weights = &weights_;
  parts.cache = &*cache_;
  parts.group = &group;
  parts.clock = &clock_;
  parts.rope = rope_->view();
  parts.shape = shape;
  parts.rule = options.rule;
  parts.rms_eps = options.model.rms_eps;
  parts.softmax_scale = softmax_scale(options.model);
  model_.emplace(parts, scratch_);
  watched_.emplace(*model_);
  ReplicaFacts facts;
  facts.capacity_pages = options.pages;
  facts.max_sequences = options.limits.sequences;
  facts.max_table_pages = table;
  facts.max_model_len = options.limits.length;
  facts.vocab_size = options.model.vocab_size;
  executor_.emplace(Executor::Parts{&stream_, &*watched_, &*cache_, &clock_}, facts, options.limits, 0);
}

SchedulerLimits Engine::scheduler_limits() const {
  return {options_.pages, cache_->shape().table_pages, options_.limits.sequences, options_.limits.tokens,
          kernels::needs_mass(options_.rule.score)};
}

std::vector<int32_t> Engine::positions(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const {
  const kernels::KvView& kv = cache_->view();
  std::vector<int32_t> out;
  for (int32_t slot = 0; slot < slots; ++slot) {
    const int32_t page = kv.page_tables[sequence * kv.table_stride + slot / kernels::kPageSlots];
    out.push_back(kv.pos[kv.tile_index(layer, page, head) * kernels::kPageSlots +
                         static_cast<size_t>(slot % kernels::kPageSlots)]);
  }
  return out;
}

std::vector<float> Engine::masses(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const {
  const kernels::KvView& kv = cache_->view();
  std::vector<float> out;
  for (int32_t slot = 0; slot < slots; ++slot) {
    const int32_t page = kv.page_tables[sequence * kv.table_stride + slot / kernels::kPageSlots];
    out.push_back(kv.mass[kv.tile_index(layer, page, head) * kernels::kPageSlots +
                          static_cast<size_t>(slot % kernels::kPageSlots)]);
  }
  return out;
}

std::vector<int32_t> Engine::queue(int32_t sequence, int32_t layer, int32_t head, int32_t count) const {
  const KvShape& shape = cache_->shape();
  const int64_t row = (int64_t{sequence} * shape.layers + layer) * shape.kv_heads + head;
  const int32_t* begin = cache_->queues().as<int32_t>() + row * shape.decode_block;
  return std::vector<int32_t>(begin, begin + count);
}

std::vector<std::vector<int32_t>> run_requests(Engine& engine, std::span<const SequenceRequest> requests,
                                               const AfterStep& after_step) {
  Scheduler scheduler(engine.scheduler_limits(), engine.clock());
  std::map<uint64_t, size_t> places;
  for (size_t i = 0; i < requests.size(); ++i) {
    places[requests[i].request] = i;
    scheduler.submit(requests[i]);
  }
  std::vector<std::vector<int32_t>> tokens(requests.size());
  while (const std::optional<StepPlan> plan = scheduler.plan()) {
    CHECK_EQ(plan_fault(*plan).value_or(""), "");
    engine.executor().launch(*plan);
    scheduler.complete(engine.executor().collect().ids);
    after_step(*plan);
    for (const OutboxEvent& event : scheduler.take_events()) {
      if (const auto* made = std::get_if<TokenMade>(&event))
        tokens[places.at(made->request)].push_back(made->id);
    }
  }
  CHECK(scheduler.idle());
  return tokens;
}

SequenceRequest greedy_request(uint64_t id, std::vector<int32_t> prompt, int32_t max_tokens,
                               const config::Compression& compression) {
  SequenceRequest request;
  request.request = id;
  request.prompt_length = static_cast<int32_t>(prompt.size());
  request.tokens = std::move(prompt);
  request.max_tokens = max_tokens;
  request.compression = compression;
  request.sampling.temperature = 0;
  request.sampling.seed = id;
  return request;
}

}  // namespace batchmax::worker
