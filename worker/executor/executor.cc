#include "worker/executor/executor.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/core/range.h"
#include "kernels/sampling/gather_tokens.h"
#include "kernels/sampling/sample.h"
#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

bool has_device(const kernels::Stream& stream) { return stream.backend() == kernels::Backend::cuda; }

// Ids, padded to where i64 may stand.
size_t ids_bytes(const StepLimits& limits) {
  return (static_cast<size_t>(limits.sequences) * sizeof(int32_t) + 7) / 8 * 8;
}
// Times stand behind the ids, so that one copy brings both.
size_t results_bytes(const kernels::Stream& stream, const StepLimits& limits) {
  return ids_bytes(limits) + (has_device(stream) ? StepTimer::kMarks * sizeof(int64_t) : 0);
}

size_t logprob_bytes(size_t count) { return count * sizeof(kernels::TokenLogprob); }

[[noreturn]] void fail(int rank, uint64_t step, const std::runtime_error& error) {
  throw std::runtime_error("rank " + std::to_string(rank) + ", step " + std::to_string(step) + ": " +
                           error.what());
}

}  // namespace

Executor::Executor(const Parts& parts, ReplicaFacts facts, const StepLimits& limits, const Options& options)
    : parts_(parts),
      facts_(std::move(facts)),
      options_(options),
      limits_(limits),
      marks_at_(ids_bytes(limits)),
      staging_(*parts.stream, limits, options.lookahead + 1),
      last_token_(*parts.stream, static_cast<size_t>(limits.sequences) * sizeof(int32_t)),
      results_(*parts.stream, results_bytes(*parts.stream, limits)),
      logprobs_(*parts.stream, logprob_bytes(static_cast<size_t>(limits.tokens))),
      timer_(*parts.stream, *parts.clock,
             has_device(*parts.stream)
                 ? reinterpret_cast<int64_t*>(static_cast<std::byte*>(results_.data()) + marks_at_)
                 : nullptr) {
  for (int i = 0; i <= options.lookahead; ++i) {
    copies_.push_back({kernels::PinnedBuffer(*parts.stream, results_.bytes()), kernels::Event(*parts.stream),
                       kernels::PinnedBuffer(*parts.stream, logprobs_.bytes())});
  }
  kernels::fill_zero(*parts.stream, last_token_.data(), last_token_.bytes());
  kernels::fill_zero(*parts.stream, results_.data(), results_.bytes());
  if (kernels::offers_graphs(parts.stream->backend())) record_graphs();
}

kernels::Tensor Executor::ids(size_t count) const {
  return kernels::Tensor(results_.data(), kernels::DType::i32, {static_cast<int64_t>(count)});
}
kernels::Tensor Executor::last_token() const {
  return kernels::Tensor(last_token_.data(), kernels::DType::i32, {limits_.sequences});
}

// Each step of padding runs once launch by launch first: code is loaded and matmuls choose their algorithms
// outside of the recording.
void Executor::record_graphs() {
  const kernels::Stream& stream = *parts_.stream;
  for (const RowKind kind : options_.graph_kinds) {
    for (const int32_t rows : graph_buckets(limits_.sequences)) {
      const StepPlan plan = padding_plan(kind, rows);
      const StagedStep staged = staging_.stage(stream, plan, 0, rows);
      timer_.forget();
      draw(staged);
      stream.synchronize();
      timer_.forget();
      kernels::Graph graph(stream, [&] { draw(staged); });
      graphs_.add(kind, {rows, std::move(graph), timer_.recorded()});
      stream.synchronize();
    }
  }
}

void Executor::launch(const StepPlan& plan) {
  const kernels::Range range("launch");
  CHECK(plan.kind == StepKind::work);
  CHECK_LE(launched_.size(), static_cast<size_t>(options_.lookahead));
  const int copy = next_copy_;
  next_copy_ = (next_copy_ + 1) % (options_.lookahead + 1);
  try {
    timer_.start();
    run(plan, copy);
    const StepTiming timing = timer_.finish();
    Copy& own = copies_[static_cast<size_t>(copy)];
    kernels::download(*parts_.stream, own.results.data(), results_.data(), results_.bytes());
    if (!plan.logprobs.empty()) {
      kernels::download(*parts_.stream, own.logprobs.data(), logprobs_.data(),
                        logprob_bytes(plan.logprobs.size()));
    }
    own.done.record(*parts_.stream);
    launched_.push_back({plan.step, plan.samples.size(), copy, timing, plan.logprobs.size()});
  } catch (const std::runtime_error& error) {
    fail(options_.rank, plan.step, error);
  }
}

void Executor::run(const StepPlan& plan, int copy) {
  const kernels::Stream& stream = *parts_.stream;
  for (const PageTableUpdate& update : plan.page_tables) {
    parts_.cache->set_page_table(stream, update.sequence, update.first, update.pages);
  }
  for (const LogitUpdate& update : plan.logit_entries) {
    parts_.logit_state->set_entries(stream, update.sequence, update.entries);
  }
  const DecodeGraphs::Recorded* recorded = graphs_.find(plan);
  const auto rows = static_cast<int32_t>(plan.rows.size());
  const StagedStep staged = staging_.stage(stream, plan, copy, recorded == nullptr ? rows : recorded->rows);
  if (recorded != nullptr) {
    recorded->graph.launch(stream);
    timer_.replay(recorded->timing);
  } else {
    draw(staged);
  }
  const kernels::Range range("victims");
  parts_.model->select_victims(stream, staged.inputs, timer_);
}

// Ids in, ids out: the part of a step that a graph records.
void Executor::draw(const StagedStep& staged) {
  const kernels::Stream& stream = *parts_.stream;
  const kernels::Rows decode = staged.inputs.rows_of(RowKind::decode_mass, RowKind::decode);
  if (decode.count > 0) kernels::gather_tokens(stream, decode, last_token(), staged.inputs.ids);
  const kernels::Tensor logits = parts_.model->forward(stream, staged.inputs, timer_);
  const StepPlan& plan = *staged.inputs.plan;
  const kernels::LogitTables& tables = parts_.logit_state->tables();
  if (!plan.counted.empty()) {
    kernels::count_tokens(stream, plan.counted.data(), staged.counted_data,
                          static_cast<int32_t>(plan.counted.size()), staged.inputs.ids, tables.counts);
  }
  if (!plan.adjusted.empty())
    kernels::adjust_logits(stream, logits, plan.adjusted.data(), staged.adjusted_data, tables);
  if (!plan.samples.empty()) {
    kernels::sample(stream, logits, plan.samples.data(), staged.samples_data, ids(plan.samples.size()),
                    last_token());
  }
  score(staged);
}

// The logits of these tokens are computed again: those of the samples have been adjusted meanwhile, and those
// of a whole prompt would not fit at once.
void Executor::score(const StagedStep& staged) {
  const StepPlan& plan = *staged.inputs.plan;
  const auto all = static_cast<int64_t>(plan.logprobs.size());
  const int64_t at_once = parts_.model->logits_at_once();
  for (int64_t begin = 0; begin < all; begin += at_once) {
    const int64_t count = std::min(at_once, all - begin);
    const kernels::Tensor logits =
        parts_.model->logits_of(*parts_.stream, staged.inputs, staged.logprob_tokens.rows(begin, count));
    auto* to = static_cast<std::byte*>(logprobs_.data()) + logprob_bytes(static_cast<size_t>(begin));
    const kernels::Tensor results(to, kernels::DType::u8,
                                  {static_cast<int64_t>(logprob_bytes(static_cast<size_t>(count)))});
    kernels::token_logprobs(*parts_.stream, logits, plan.logprobs.data() + begin,
                            staged.logprobs_data + begin, ids(plan.samples.size()), results);
  }
}

StepResult Executor::collect() {
  const kernels::Range range("collect");
  CHECK(!launched_.empty());
  const Launched launched = std::move(launched_.front());
  launched_.pop_front();
  const Copy& own = copies_[static_cast<size_t>(launched.copy)];
  try {
    own.done.wait();
  } catch (const std::runtime_error& error) {
    fail(options_.rank, launched.step, error);
  }
  const auto* results = static_cast<const std::byte*>(own.results.data());
  const auto* ids = reinterpret_cast<const int32_t*>(results);
  const auto* times =
      has_device(*parts_.stream) ? reinterpret_cast<const int64_t*>(results + marks_at_) : nullptr;
  const auto* logprobs = static_cast<const kernels::TokenLogprob*>(own.logprobs.data());
  const StepTiming& timing = launched.timing;
  return {launched.step,
          std::vector<int32_t>(ids, ids + launched.samples),
          {timing.total_seconds(times), timing.part_seconds(StepPart::all_reduce, times),
           timing.part_seconds(StepPart::selection, times)},
          std::vector<kernels::TokenLogprob>(logprobs, logprobs + launched.logprobs)};
}

}  // namespace batchmax::worker
