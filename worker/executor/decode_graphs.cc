#include "worker/executor/decode_graphs.h"

#include <algorithm>

#include "monitoring/check.h"

namespace batchmax::worker {

std::vector<int32_t> graph_buckets(int32_t max_rows) {
  CHECK_GE(max_rows, 1);
  std::vector<int32_t> buckets;
  for (int32_t rows = 1; rows < max_rows; rows += rows < 4 ? rows : rows < 8 ? 4 : rows < 128 ? 8 : 64) {
    buckets.push_back(rows);
  }
  buckets.push_back(max_rows);
  return buckets;
}

std::optional<RowKind> graph_kind(const StepPlan& plan) {
  if (!plan.logprobs.empty()) return std::nullopt;
  const int32_t decodes = plan.decode_rows();
  if (decodes == 0 || static_cast<size_t>(decodes) != plan.rows.size()) return std::nullopt;
  const RowKind kind = plan.count_of(RowKind::decode) > 0 ? RowKind::decode : RowKind::decode_mass;
  if (plan.count_of(kind) != decodes || plan.samples.size() != plan.rows.size()) return std::nullopt;
  for (int32_t i = 0; i < decodes; ++i) {
    if (plan.samples[static_cast<size_t>(i)].token != i) return std::nullopt;
  }
  return kind;
}

kernels::Row padding_row(int32_t i) {
  kernels::Row row{};
  row.sequence = kernels::kNoSequence;
  row.token_begin = i;
  row.token_count = 1;
  row.queue_index = -1;
  row.keep = 1;
  return row;
}

kernels::SampleRow padding_sample(int32_t i) {
  kernels::SampleRow sample{};
  sample.top_p = 1;
  sample.token = i;
  sample.sequence = kernels::kNoSequence;
  return sample;
}

kernels::CountRow padding_count() {
  kernels::CountRow row{};
  row.sequence = kernels::kNoSequence;
  return row;
}

kernels::AdjustRow padding_adjustment() {
  kernels::AdjustRow row{};
  row.sequence = kernels::kNoSequence;
  row.repetition = 1;
  return row;
}

StepPlan padding_plan(RowKind kind, int32_t rows) {
  StepPlan plan;
  plan.row_counts[static_cast<size_t>(kind)] = rows;
  for (int32_t i = 0; i < rows; ++i) {
    plan.rows.push_back(padding_row(i));
    plan.samples.push_back(padding_sample(i));
    plan.counted.push_back(padding_count());
    plan.adjusted.push_back(padding_adjustment());
  }
  return plan;
}

void DecodeGraphs::add(RowKind kind, Recorded recorded) {
  CHECK(kind == RowKind::decode || kind == RowKind::decode_mass);
  std::vector<Recorded>& of_kind = recorded_[static_cast<size_t>(kind)];
  if (!of_kind.empty()) CHECK_LT(of_kind.back().rows, recorded.rows);
  of_kind.push_back(std::move(recorded));
}

const DecodeGraphs::Recorded* DecodeGraphs::find(const StepPlan& plan) const {
  const std::optional<RowKind> kind = graph_kind(plan);
  if (!kind) return nullptr;
  const std::vector<Recorded>& of_kind = recorded_[static_cast<size_t>(*kind)];
  const auto found = std::find_if(of_kind.begin(), of_kind.end(), [&](const Recorded& recorded) {
    return static_cast<size_t>(recorded.rows) >= plan.rows.size();
  });
  return found == of_kind.end() ? nullptr : &*found;
}

}  // namespace batchmax::worker
