#include "worker/plan/step_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "comm/protocol/messages.pb.h"

namespace batchmax::worker {
namespace {

// Rows and samples travel as the bytes that the executor uploads: all ranks run the same build.
template <typename T>
void put(const std::vector<T>& values, std::string* bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  bytes->assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
std::vector<T> take(const std::string& bytes, const char* what) {
  if (bytes.size() % sizeof(T) != 0) {
    throw std::runtime_error(std::string("step plan: ") + what + " has " + std::to_string(bytes.size()) +
                             " bytes, no multiple of " + std::to_string(sizeof(T)));
  }
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

int32_t narrow(uint32_t value, const char* what) {
  if (value > static_cast<uint32_t>(std::numeric_limits<int32_t>::max())) {
    throw std::runtime_error(std::string("step plan: ") + what + " is out of range");
  }
  return static_cast<int32_t>(value);
}

std::optional<std::string> row_fault(const kernels::Row& row, RowKind kind) {
  const bool decode = kind == RowKind::decode || kind == RowKind::decode_mass;
  if (row.sequence < 0 || row.resident < 0 || row.position < 0 || row.keep < 1 || row.victims < 0) {
    return "a negative figure";
  }
  if (row.token_count < 1 || (decode && row.token_count != 1)) return "a wrong token count";
  if (int64_t{row.position} + row.token_count > std::numeric_limits<int32_t>::max())
    return "a position out of range";
  const int64_t stored = int64_t{row.resident} + row.token_count;
  if (decode && row.queue_index >= 0) {
    if (row.keep != row.resident) return "an overwrite that changes the slot count";
  } else if (decode || kind == RowKind::append) {
    if (row.keep != stored) return "an append that does not keep all";
  } else if (row.keep >= stored) {
    return "a selection that drops nothing";
  }
  if (row.victims >= row.keep) return "more victims than slots";
  return std::nullopt;
}

std::optional<std::string> logit_fault(const StepPlan& plan) {
  const int64_t tokens = plan.tokens();
  if (plan.counted.size() > plan.rows.size()) return "more counted rows than rows";
  for (const kernels::CountRow& row : plan.counted) {
    if (row.sequence < 0 || row.token_begin < 0 || row.token_count < 1 ||
        int64_t{row.token_begin} + row.token_count > tokens || row.prompt_count < 0 ||
        row.prompt_count > row.token_count)
      return "a counted row without its tokens";
  }
  if (!plan.adjusted.empty() && plan.adjusted.size() != plan.samples.size())
    return "adjustments that are not the samples'";
  for (const kernels::AdjustRow& row : plan.adjusted) {
    if (row.biases < 0 || row.biases > kMaxLogitEntries || row.ban_begin < 0 || row.bans < 0 ||
        int64_t{row.ban_begin} + row.bans > kMaxLogitEntries || !(row.repetition > 0))
      return "an adjustment out of range";
  }
  int64_t last_token = -1;
  for (const kernels::LogprobRow& row : plan.logprobs) {
    if (row.token <= last_token || row.token >= tokens) return "a log probability of a token out of order";
    if (row.top < 0 || row.top > kernels::kMaxTopLogprobs) return "too many alternatives";
    const bool drawn = row.target == -1;
    if (row.target < -1 || row.sample < 0 ||
        (drawn && static_cast<size_t>(row.sample) >= plan.samples.size()))
      return "a log probability of no token";
    last_token = row.token;
  }
  for (const LogitUpdate& update : plan.logit_entries) {
    if (update.sequence < 0 || update.entries.empty() || update.entries.size() > kMaxLogitEntries)
      return "logit entries of a bad place";
  }
  return std::nullopt;
}

}  // namespace

int32_t StepPlan::begin_of(RowKind row_kind) const {
  int32_t begin = 0;
  for (size_t kind_index = 0; kind_index < static_cast<size_t>(row_kind); ++kind_index)
    begin += row_counts[kind_index];
  return begin;
}

std::optional<std::string> plan_fault(const StepPlan& plan) {
  const auto fault = [](const char* what, size_t index, const std::string& why) {
    return std::string(what) + " " + std::to_string(index) + ": " + why;
  };
  if (plan.kind > StepKind::shutdown) return "unknown kind";
  int64_t counted = 0;
  for (const int32_t count : plan.row_counts) {
    if (count < 0) return "a negative row count";
    counted += count;
  }
  if (counted != static_cast<int64_t>(plan.rows.size())) return "row counts do not add up to the rows";

  int64_t next_token = 0;
  size_t index = 0;
  for (size_t kind = 0; kind < kRowKinds; ++kind) {
    for (int32_t i = 0; i < plan.row_counts[kind]; ++i, ++index) {
      const kernels::Row& row = plan.rows[index];
      if (const auto why = row_fault(row, static_cast<RowKind>(kind))) return fault("row", index, *why);
      if (row.token_begin != next_token) return fault("row", index, "a gap before its tokens");
      next_token += row.token_count;
    }
  }
  if (next_token != int64_t{plan.decode_rows()} + static_cast<int64_t>(plan.prompt_tokens.size())) {
    return "the rows' tokens are not the step's";
  }
  int64_t last_sampled = -1;
  for (size_t i = 0; i < plan.samples.size(); ++i) {
    const kernels::SampleRow& sample = plan.samples[i];
    if (sample.sequence < 0) return fault("sample", i, "a negative sequence");
    if (sample.token <= last_sampled || sample.token >= next_token)
      return fault("sample", i, "a token out of order");
    last_sampled = sample.token;
  }
  int64_t last_row = -1;
  for (size_t i = 0; i < plan.victim_rows.size(); ++i) {
    const int32_t row = plan.victim_rows[i];
    if (row <= last_row || row >= static_cast<int64_t>(plan.rows.size()))
      return fault("victim row", i, "out of order");
    if (plan.rows[static_cast<size_t>(row)].victims < 1) return fault("victim row", i, "selects nothing");
    last_row = row;
  }
  const auto selects = [](const kernels::Row& row) { return row.victims > 0; };
  if (std::count_if(plan.rows.begin(), plan.rows.end(), selects) !=
      static_cast<int64_t>(plan.victim_rows.size())) {
    return "a row with victims is not listed";
  }
  for (size_t i = 0; i < plan.page_tables.size(); ++i) {
    const PageTableUpdate& update = plan.page_tables[i];
    if (update.sequence < 0 || update.first < 0 || update.pages.empty())
      return fault("page table", i, "a bad place");
    for (const int32_t page : update.pages) {
      if (page < 0) return fault("page table", i, "a negative page");
    }
  }
  return logit_fault(plan);
}

std::vector<std::byte> serialize(const StepPlan& plan) {
  comm::pb::StepPlan message;
  message.set_step(plan.step);
  message.set_kind(static_cast<uint32_t>(plan.kind));
  put(plan.rows, message.mutable_rows());
  for (const int32_t count : plan.row_counts) message.add_row_counts(static_cast<uint32_t>(count));
  put(plan.prompt_tokens, message.mutable_prompt_tokens());
  put(plan.samples, message.mutable_samples());
  put(plan.victim_rows, message.mutable_victim_rows());
  for (const PageTableUpdate& update : plan.page_tables) {
    auto* made = message.add_page_tables();
    made->set_sequence(static_cast<uint32_t>(update.sequence));
    made->set_first(static_cast<uint32_t>(update.first));
    for (const int32_t page : update.pages) made->add_pages(static_cast<uint32_t>(page));
  }
  put(plan.counted, message.mutable_counted());
  put(plan.adjusted, message.mutable_adjusted());
  put(plan.logprobs, message.mutable_logprobs());
  for (const LogitUpdate& update : plan.logit_entries) {
    auto* made = message.add_logit_entries();
    made->set_sequence(static_cast<uint32_t>(update.sequence));
    put(update.entries, made->mutable_entries());
  }
  std::vector<std::byte> bytes(message.ByteSizeLong());
  if (!message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw std::runtime_error("step plan: larger than a protobuf message may be");
  }
  return bytes;
}

StepPlan deserialize_step_plan(const std::vector<std::byte>& bytes) {
  comm::pb::StepPlan message;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw std::runtime_error("step plan: not a StepPlan message");
  }
  if (message.row_counts_size() != static_cast<int>(kRowKinds)) {
    throw std::runtime_error("step plan: " + std::to_string(message.row_counts_size()) + " row counts");
  }
  if (message.kind() > static_cast<uint32_t>(StepKind::shutdown))
    throw std::runtime_error("step plan: unknown kind");
  StepPlan plan;
  plan.step = message.step();
  plan.kind = static_cast<StepKind>(message.kind());
  plan.rows = take<kernels::Row>(message.rows(), "rows");
  for (size_t i = 0; i < kRowKinds; ++i) {
    plan.row_counts[i] = narrow(message.row_counts(static_cast<int>(i)), "a row count");
  }
  plan.prompt_tokens = take<int32_t>(message.prompt_tokens(), "prompt_tokens");
  plan.samples = take<kernels::SampleRow>(message.samples(), "samples");
  plan.victim_rows = take<int32_t>(message.victim_rows(), "victim_rows");
  for (const auto& update : message.page_tables()) {
    PageTableUpdate made{
        narrow(update.sequence(), "a sequence"), narrow(update.first(), "a table entry"), {}};
    for (const uint32_t page : update.pages()) made.pages.push_back(narrow(page, "a page"));
    plan.page_tables.push_back(std::move(made));
  }
  plan.counted = take<kernels::CountRow>(message.counted(), "counted");
  plan.adjusted = take<kernels::AdjustRow>(message.adjusted(), "adjusted");
  plan.logprobs = take<kernels::LogprobRow>(message.logprobs(), "logprobs");
  for (const auto& update : message.logit_entries()) {
    plan.logit_entries.push_back({narrow(update.sequence(), "a sequence"),
                                  take<kernels::LogitEntry>(update.entries(), "logit entries")});
  }
  if (const auto why = plan_fault(plan)) throw std::runtime_error("step plan: " + *why);
  return plan;
}

}  // namespace batchmax::worker
