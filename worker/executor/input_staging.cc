#include "worker/executor/input_staging.h"

#include <algorithm>
#include <cstddef>

#include "monitoring/check.h"
#include "worker/executor/decode_graphs.h"

namespace batchmax::worker {

InputStaging::Places::Places(const StepLimits& limits) {
  size_t next = 0;
  const auto place = [&](int32_t count, size_t element) {
    constexpr size_t kAlign = 64;
    const size_t at = next;
    next += (static_cast<size_t>(count) * element + kAlign - 1) / kAlign * kAlign;
    return at;
  };
  rows = place(limits.sequences, sizeof(kernels::Row));
  victim_rows = place(limits.sequences, sizeof(kernels::Row));
  samples = place(limits.sequences, sizeof(kernels::SampleRow));
  sample_tokens = place(limits.sequences, sizeof(int32_t));
  counted = place(limits.sequences, sizeof(kernels::CountRow));
  adjusted = place(limits.sequences, sizeof(kernels::AdjustRow));
  ids = place(limits.tokens, sizeof(int32_t));
  positions = place(limits.tokens, sizeof(int32_t));
  rope_tables = place(limits.tokens, sizeof(int32_t));
  logprobs = place(limits.tokens, sizeof(kernels::LogprobRow));
  logprob_tokens = place(limits.tokens, sizeof(int32_t));
  end = next;
}

InputStaging::InputStaging(const kernels::Stream& stream, const StepLimits& limits, int copies)
    : limits_(limits), places_(limits), device_(stream, places_.end) {
  for (int i = 0; i < copies; ++i) host_.emplace_back(stream, places_.end);
}

StagedStep InputStaging::stage(const kernels::Stream& stream, const StepPlan& plan, int copy, int32_t rows) {
  CHECK_LE(rows, limits_.sequences);
  CHECK_LE(plan.rows.size(), static_cast<size_t>(limits_.sequences));
  CHECK_LE(plan.samples.size(), static_cast<size_t>(limits_.sequences));
  CHECK_LE(plan.tokens(), limits_.tokens);
  CHECK_LE(plan.counted.size(), plan.rows.size());
  CHECK_LE(plan.logprobs.size(), static_cast<size_t>(plan.tokens()));
  auto* host = static_cast<std::byte*>(host_[static_cast<size_t>(copy)].data());
  auto* device = static_cast<std::byte*>(device_.data());
  const auto rows_at = [&](size_t place, size_t count) {
    return kernels::Rows{reinterpret_cast<const kernels::Row*>(host + place),
                         reinterpret_cast<const kernels::Row*>(device + place), static_cast<int32_t>(count)};
  };
  const auto integers_at = [&](size_t place, size_t count) {
    return kernels::Tensor(device + place, kernels::DType::i32, {static_cast<int64_t>(count)});
  };
  const auto integers = [&](size_t place) { return reinterpret_cast<int32_t*>(host + place); };

  auto* staged_rows = reinterpret_cast<kernels::Row*>(host + places_.rows);
  std::copy(plan.rows.begin(), plan.rows.end(), staged_rows);
  auto* victims = reinterpret_cast<kernels::Row*>(host + places_.victim_rows);
  for (const int32_t row : plan.victim_rows) *victims++ = plan.rows[static_cast<size_t>(row)];
  auto* samples = reinterpret_cast<kernels::SampleRow*>(host + places_.samples);
  std::copy(plan.samples.begin(), plan.samples.end(), samples);
  int32_t* sample_tokens = integers(places_.sample_tokens);
  for (const kernels::SampleRow& sample : plan.samples) *sample_tokens++ = sample.token;
  auto* counted = reinterpret_cast<kernels::CountRow*>(host + places_.counted);
  std::copy(plan.counted.begin(), plan.counted.end(), counted);
  auto* adjusted = reinterpret_cast<kernels::AdjustRow*>(host + places_.adjusted);
  std::copy(plan.adjusted.begin(), plan.adjusted.end(), adjusted);
  std::copy(plan.logprobs.begin(), plan.logprobs.end(),
            reinterpret_cast<kernels::LogprobRow*>(host + places_.logprobs));
  int32_t* logprob_tokens = integers(places_.logprob_tokens);
  for (const kernels::LogprobRow& row : plan.logprobs) *logprob_tokens++ = row.token;
  int32_t* ids = integers(places_.ids);
  std::fill_n(ids, plan.decode_rows(), 0);
  std::copy(plan.prompt_tokens.begin(), plan.prompt_tokens.end(), ids + plan.decode_rows());
  for (const kernels::Row& row : plan.rows) {
    for (int32_t i = 0; i < row.token_count; ++i) {
      integers(places_.positions)[row.token_begin + i] = row.position + i;
      integers(places_.rope_tables)[row.token_begin + i] = row.rope_table;
    }
  }
  for (auto i = static_cast<int32_t>(plan.rows.size()); i < rows; ++i) {
    staged_rows[i] = padding_row(i);
    samples[i] = padding_sample(i);
    integers(places_.sample_tokens)[i] = i;
    ids[i] = integers(places_.positions)[i] = integers(places_.rope_tables)[i] = 0;
  }
  for (auto i = static_cast<int32_t>(plan.counted.size()); i < rows; ++i) counted[i] = padding_count();
  for (auto i = static_cast<int32_t>(plan.adjusted.size()); i < rows; ++i) adjusted[i] = padding_adjustment();
  kernels::upload(stream, device, host, plan.logprobs.empty() ? places_.logprobs : places_.end);

  const auto tokens = static_cast<size_t>(plan.tokens());
  StagedStep staged;
  staged.inputs.plan = &plan;
  staged.inputs.rows = rows_at(places_.rows, plan.rows.size());
  staged.inputs.victim_rows = rows_at(places_.victim_rows, plan.victim_rows.size());
  staged.inputs.ids = integers_at(places_.ids, tokens);
  staged.inputs.positions = integers_at(places_.positions, tokens);
  staged.inputs.rope_tables = integers_at(places_.rope_tables, tokens);
  staged.inputs.sample_tokens = integers_at(places_.sample_tokens, plan.samples.size());
  staged.samples_data = reinterpret_cast<const kernels::SampleRow*>(device + places_.samples);
  staged.counted_data = reinterpret_cast<const kernels::CountRow*>(device + places_.counted);
  staged.adjusted_data = reinterpret_cast<const kernels::AdjustRow*>(device + places_.adjusted);
  staged.logprobs_data = reinterpret_cast<const kernels::LogprobRow*>(device + places_.logprobs);
  staged.logprob_tokens = integers_at(places_.logprob_tokens, plan.logprobs.size());
  return staged;
}

}  // namespace batchmax::worker
