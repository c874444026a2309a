#include "worker/executor/executor.h"

#include "kernels/sampling/gather_tokens.h"
#include "kernels/sampling/sample.h"
#include "monitoring/check.h"
#include "worker/model/stopwatch.h"

namespace batchmax::worker {

Executor::Executor(const Parts& parts, ReplicaFacts facts, const StepLimits& limits, int lookahead)
    : parts_(parts),
      facts_(std::move(facts)),
      lookahead_(lookahead),
      staging_(*parts.stream, limits, lookahead + 1),
      last_token_(*parts.stream, static_cast<size_t>(limits.sequences) * sizeof(int32_t)),
      ids_(*parts.stream, static_cast<size_t>(limits.sequences) * sizeof(int32_t)) {
  for (int i = 0; i <= lookahead; ++i) host_ids_.emplace_back(*parts.stream, ids_.bytes());
  kernels::fill_zero(*parts.stream, last_token_.data(), last_token_.bytes());
}

kernels::Tensor Executor::integers(const kernels::Buffer& buffer, size_t count) const {
  return kernels::Tensor(buffer.data(), kernels::DType::i32, {static_cast<int64_t>(count)});
}

void Executor::launch(const StepPlan& plan) {
  CHECK(plan.kind == StepKind::work);
  CHECK_LE(launched_.size(), static_cast<size_t>(lookahead_));
  const Stopwatch whole(*parts_.clock);
  const kernels::Stream& stream = *parts_.stream;
  for (const PageTableUpdate& update : plan.page_tables) {
    parts_.cache->set_page_table(stream, update.sequence, update.first, update.pages);
  }
  const int copy = next_copy_;
  next_copy_ = (next_copy_ + 1) % (lookahead_ + 1);
  const StagedStep staged = staging_.stage(stream, plan, copy);
  const kernels::Tensor last_token = integers(last_token_, last_token_.bytes() / sizeof(int32_t));
  const kernels::Rows decode = staged.inputs.rows_of(RowKind::decode_mass, RowKind::decode);
  if (decode.count > 0) kernels::gather_tokens(stream, decode, last_token, staged.inputs.ids);

  PartSeconds spent;
  const kernels::Tensor logits = parts_.model->forward(stream, staged.inputs, spent);
  if (!plan.samples.empty()) {
    const kernels::Tensor ids = integers(ids_, plan.samples.size());
    kernels::sample(stream, logits, plan.samples.data(), staged.samples_data, ids, last_token);
    kernels::download(stream, host_ids_[static_cast<size_t>(copy)].data(), ids.data(), ids.bytes());
  }
  parts_.model->select_victims(stream, staged.inputs, spent);
  launched_.push_back(
      {plan.step, plan.samples.size(), copy, {whole.seconds(), spent.all_reduce, spent.selection}});
}

StepResult Executor::collect() {
  CHECK(!launched_.empty());
  const Launched launched = launched_.front();
  launched_.pop_front();
  parts_.stream->synchronize();
  const auto* ids = static_cast<const int32_t*>(host_ids_[static_cast<size_t>(launched.copy)].data());
  return {launched.step, std::vector<int32_t>(ids, ids + launched.samples), launched.seconds};
}

}  // namespace batchmax::worker
