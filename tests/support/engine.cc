#include "tests/support/engine.h"

#include <deque>
#include <map>
#include <utility>
#include <variant>

#include "monitoring/check.h"

namespace batchmax::worker {

namespace {

kernels::Stream stream_of(const EngineOptions& options) {
  return options.backend == kernels::Backend::cuda ? kernels::Stream::cuda(options.device)
                                                   : kernels::Stream::cpu();
}

}  // namespace

kernels::Tensor WatchedModel::forward(const kernels::Stream& stream, const StepInputs& inputs,
                                      StepTimer& timer) {
  const kernels::Tensor logits = model_.forward(stream, inputs, timer);
  logits_.assign(inputs.plan->samples.size(), {});
  for (size_t row = 0; row < logits_.size(); ++row) {
    logits_[row].resize(static_cast<size_t>(logits.dim(1)));
    kernels::download(stream, logits_[row].data(),
                      logits.as<float>() + static_cast<int64_t>(row) * logits.dim(1),
                      logits_[row].size() * sizeof(float));
  }
  stream.synchronize();
  return logits;
}

Engine::Engine(const EngineOptions& options, WeightSource& source, comm::TensorGroup& group)
    : options_(options), stream_(stream_of(options)) {
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
  Executor::Options how;
  how.lookahead = options.lookahead;
  how.rank = group.rank();
  if (options.graphs) how.graph_kinds = {RowKind::decode, RowKind::decode_mass};
  // Nothing can be read while a graph is recorded.
  Model* model = options.graphs ? static_cast<Model*>(&*model_) : &*watched_;
  logit_state_.emplace(stream_, options.limits.sequences, options.model.vocab_size);
  executor_.emplace(Executor::Parts{&stream_, model, &*cache_, &clock_, &*logit_state_}, facts,
                    options.limits, how);
}

SchedulerLimits Engine::scheduler_limits() const {
  return {options_.pages,
          cache_->shape().table_pages,
          options_.limits.sequences,
          options_.limits.tokens,
          kernels::needs_mass(options_.rule.score),
          short_rope_positions(options_.model)};
}

template <typename T>
std::vector<T> Engine::read(const T* from, size_t count) const {
  std::vector<T> values(count);
  kernels::download(stream_, values.data(), from, count * sizeof(T));
  stream_.synchronize();
  return values;
}

template <typename T>
std::vector<T> Engine::slots_of(const T* table, int32_t sequence, int32_t layer, int32_t head,
                                int32_t slots) const {
  const kernels::KvView& kv = cache_->view();
  constexpr int32_t kSlots = kernels::kPageSlots;
  const std::vector<int32_t> pages =
      read(kv.page_tables + sequence * kv.table_stride, static_cast<size_t>((slots + kSlots - 1) / kSlots));
  std::vector<T> out;
  for (const int32_t page : pages) {
    const std::vector<T> values = read(table + kv.tile_index(layer, page, head) * kSlots, kSlots);
    out.insert(out.end(), values.begin(), values.end());
  }
  out.resize(static_cast<size_t>(slots));
  return out;
}

std::vector<int32_t> Engine::positions(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const {
  return slots_of(cache_->view().pos, sequence, layer, head, slots);
}

std::vector<float> Engine::masses(int32_t sequence, int32_t layer, int32_t head, int32_t slots) const {
  return slots_of(cache_->view().mass, sequence, layer, head, slots);
}

std::vector<int32_t> Engine::queue(int32_t sequence, int32_t layer, int32_t head, int32_t count) const {
  const KvShape& shape = cache_->shape();
  const int64_t row = (int64_t{sequence} * shape.layers + layer) * shape.kv_heads + head;
  return read(cache_->queues().as<int32_t>() + row * shape.decode_block, static_cast<size_t>(count));
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
  std::deque<StepPlan> launched;
  for (;;) {
    std::optional<StepPlan> plan;
    while (launched.size() <= static_cast<size_t>(engine.executor().lookahead()) &&
           (plan = scheduler.plan())) {
      CHECK_EQ(plan_fault(*plan).value_or(""), "");
      engine.executor().launch(*plan);
      launched.push_back(std::move(*plan));
    }
    if (launched.empty()) break;
    const StepResult result = engine.executor().collect();
    scheduler.complete(result.ids, result.logprobs);
    after_step(launched.front());
    launched.pop_front();
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
