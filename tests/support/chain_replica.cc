#include "tests/support/chain_replica.h"

#include <deque>
#include <thread>

#include "kernels/core/stream.h"
#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

class ChainReplica final : public Replica, public StepExecutor {
 public:
  ChainReplica(const config::Settings& settings, comm::TensorGroup& tensors, monitoring::Progress& progress,
               const ChainOptions& options)
      : tensors_(tensors), progress_(progress), options_(options) {
    facts_.capacity_pages = options.capacity_pages;
    facts_.max_sequences = settings.max_num_seqs;
    facts_.max_model_len = settings.max_model_len > 0 ? settings.max_model_len : 4096;
    facts_.max_table_pages = facts_.max_model_len / 64 + 1;
    facts_.vocab_size = kChainVocabulary;
    facts_.eos_ids = {kChainVocabulary - 1};  // four bytes do not reach it
    facts_.kv_bytes_per_slot = 64;
    facts_.kv_bytes = facts_.kv_bytes_per_slot * 64 * static_cast<uint64_t>(options.capacity_pages);
    facts_.weight_bytes = 1;
    facts_.kv_heads = tensors.size();
    limits_ = {facts_.capacity_pages, facts_.max_table_pages, settings.max_num_seqs,
               settings.max_num_seqs + 4 * settings.compression.block, false};
    chains_.resize(static_cast<size_t>(facts_.max_sequences));
    last_.resize(chains_.size());
  }

  StepExecutor& executor() override { return *this; }
  const SchedulerLimits& scheduler_limits() const override { return limits_; }
  const ReplicaFacts& facts() const override { return facts_; }
  int lookahead() const override { return 0; }

  void launch(const StepPlan& plan) override {
    for (size_t i = 0; i < plan.rows.size(); ++i) feed(plan, i);
    // At least one element, so that every step needs every rank.
    std::vector<float> values(plan.samples.size() + 1);
    for (size_t i = 0; i < plan.samples.size(); ++i) {
      values[i] = static_cast<float>(chain(plan.samples[i].sequence).share(tensors_.rank(), tensors_.size()));
    }
    for (int layer = 0; layer < options_.layers; ++layer) {
      if (options_.layer_time.count() > 0) std::this_thread::sleep_for(options_.layer_time);
      std::vector<float> sum = values;
      const kernels::Tensor tensor(sum.data(), kernels::DType::f32, {static_cast<int64_t>(sum.size())});
      tensors_.all_reduce(stream_, std::span(&tensor, 1));
      progress_.tick();
      if (layer + 1 == options_.layers) values = std::move(sum);
    }
    StepResult result;
    result.step = plan.step;
    for (size_t i = 0; i < plan.samples.size(); ++i) {
      result.ids.push_back(static_cast<int32_t>(values[i]));
      last_[static_cast<size_t>(plan.samples[i].sequence)] = result.ids.back();
    }
    results_.push_back(std::move(result));
  }

  StepResult collect() override {
    CHECK(!results_.empty());
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }

 private:
  Chain& chain(int32_t sequence) { return chains_[static_cast<size_t>(sequence)]; }

  void feed(const StepPlan& plan, size_t index) {
    const kernels::Row& row = plan.rows[index];
    Chain& own = chain(row.sequence);
    if (row.position == 0) own = Chain();
    CHECK_EQ(row.position, own.length());
    if (static_cast<int32_t>(index) < plan.decode_rows()) {
      own.add(last_[static_cast<size_t>(row.sequence)]);
      return;
    }
    for (int32_t i = 0; i < row.token_count; ++i) {
      own.add(plan.prompt_tokens[static_cast<size_t>(row.token_begin - plan.decode_rows() + i)]);
    }
  }

  comm::TensorGroup& tensors_;
  monitoring::Progress& progress_;
  const ChainOptions options_;
  const kernels::Stream stream_ = kernels::Stream::cpu();
  ReplicaFacts facts_;
  SchedulerLimits limits_;
  std::vector<Chain> chains_;  // by page table
  std::vector<int32_t> last_;  // drawn, by page table
  std::deque<StepResult> results_;
};

}  // namespace

std::vector<int32_t> chain_after(std::span<const int32_t> prompt, int32_t count) {
  Chain chain;
  for (const int32_t token : prompt) chain.add(token);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) {
    tokens.push_back(chain.next());
    chain.add(tokens.back());
  }
  return tokens;
}

std::unique_ptr<Replica> make_chain_replica(const config::Settings& settings, comm::TensorGroup& tensors,
                                            monitoring::Progress& progress, const ChainOptions& options) {
  return std::make_unique<ChainReplica>(settings, tensors, progress, options);
}

}  // namespace batchmax::worker
