// StepPlan: all that one step needs, decided by the leader, executed by every rank. A plain value.
//
// Rows are ordered by what happens to them, so that every kernel gets one contiguous span:
//   decode_mass   one token, attention with mass       (score average, mode decode or full)
//   decode        one token, attention without mass
//   append        prefill block whose tokens all stay: slots resident, resident + 1, ...
//   compact       prefill block, mode decode, last of its prompt: stored like `append`, then cut down to
//   `keep` replace       prefill block, mode full: selection among residents and block, survivors replace
//   victims
// Token tensors of the step: one token per decode row (its id is last_token[sequence] on the device), then
// the blocks' tokens in row order; row.token_begin says where.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/kv_view.h"
#include "kernels/sampling/adjust_logits.h"
#include "kernels/sampling/count_tokens.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/token_logprobs.h"

namespace batchmax::worker {

enum class StepKind : uint8_t { work, ping, shutdown };
enum class RowKind : uint8_t { decode_mass, decode, append, compact, replace };
inline constexpr size_t kRowKinds = 5;

struct PageTableUpdate {
  int32_t sequence;
  int32_t first;  // entry of the table
  std::vector<int32_t> pages;
};

// Biases and bans of one sequence: 1,024 of each from a request, and the model's own end-of-sequence ids.
inline constexpr int32_t kMaxLogitEntries = 2 * 1024 + 64;

struct LogitUpdate {
  int32_t sequence;
  std::vector<kernels::LogitEntry> entries;
};

struct StepPlan {
  uint64_t step = 0;
  StepKind kind = StepKind::work;
  std::vector<kernels::Row> rows;               // in the order above
  std::array<int32_t, kRowKinds> row_counts{};  // of each RowKind
  std::vector<int32_t> prompt_tokens;           // ids of the blocks' tokens, in row order
  std::vector<kernels::SampleRow> samples;      // rows that draw a token: decode rows, last blocks of prompts
  std::vector<int32_t> victim_rows;             // rows (indices) that select victims after the step
  std::vector<PageTableUpdate> page_tables;     // applied before the step
  std::vector<kernels::CountRow> counted;       // rows of sequences that are penalised for what they said
  std::vector<kernels::AdjustRow> adjusted;     // of each sample; empty where no logits are to be adjusted
  std::vector<kernels::LogprobRow> logprobs;  // tokens whose successor's log probability is wanted, ascending
  std::vector<LogitUpdate> logit_entries;     // applied before the step

  int32_t decode_rows() const { return row_counts[0] + row_counts[1]; }
  int32_t begin_of(RowKind row_kind) const;  // first row of that kind
  int32_t count_of(RowKind row_kind) const { return row_counts[static_cast<size_t>(row_kind)]; }
  int32_t tokens() const { return decode_rows() + static_cast<int32_t>(prompt_tokens.size()); }
};

// What is wrong with a plan, seen on its own: counts, order and spans that do not fit together. Empty:
// nothing.
std::optional<std::string> plan_fault(const StepPlan& plan);

std::vector<std::byte> serialize(const StepPlan& plan);
// Exception std::runtime_error on bytes that are no plan, or one with a plan_fault().
StepPlan deserialize_step_plan(const std::vector<std::byte>& bytes);

}  // namespace batchmax::worker
