#include "worker/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace batchmax::worker {
namespace {

double gibibytes(uint64_t bytes) { return static_cast<double>(bytes) / (1ULL << 30); }

uint64_t usable(const DeviceMemory& memory) {
  const auto allowed = static_cast<uint64_t>(memory.utilization * static_cast<double>(memory.total));
  const uint64_t used = memory.total - memory.free;
  return allowed > used ? allowed - used : 0;
}

}  // namespace

uint64_t weight_bytes(const ModelConfig& model, int32_t ranks, kernels::DType compute) {
  const auto d = static_cast<uint64_t>(model.hidden);
  const uint64_t heads = static_cast<uint64_t>(2 * model.heads + 2 * model.kv_heads);  // q, o, k, v
  const uint64_t layer =
      d * (heads * static_cast<uint64_t>(model.head_dim) + 3 * static_cast<uint64_t>(model.intermediate));
  const uint64_t vocabulary = static_cast<uint64_t>(model.vocab_size) * d;
  const auto shards = static_cast<uint64_t>(ranks);
  const uint64_t output = model.vocab_size % ranks == 0 ? vocabulary / shards : vocabulary;
  return (static_cast<uint64_t>(model.layers) * layer / shards + vocabulary + output) *
         kernels::size_of(compute);
}

uint64_t kv_share(const DeviceMemory& memory) {
  const uint64_t share = usable(memory) / static_cast<uint64_t>(memory.sharers);
  return share > memory.graphs ? share - memory.graphs : 0;
}

std::optional<std::string> weights_do_not_fit(const ModelConfig& model, int32_t ranks, kernels::DType compute,
                                              uint64_t workspace, uint64_t free) {
  const uint64_t weights = weight_bytes(model, ranks, compute);
  if (weights + workspace <= free) return std::nullopt;
  std::string message = fmt::format(
      "the weights do not fit: {:.1f} GiB of weights and {:.1f} of workspace per rank, {:.1f} GiB of GPU "
      "memory free",
      gibibytes(weights), gibibytes(workspace), gibibytes(free));
  for (int32_t more = ranks + 1; more <= model.kv_heads; ++more) {
    if (model.kv_heads % more != 0 || model.intermediate % more != 0) continue;
    if (weight_bytes(model, more, compute) + workspace > free) continue;
    return message + fmt::format("; --tensor-parallel-size {} on as many GPUs would work", more);
  }
  return message + "; use a GPU with more memory, or lower --max-num-batched-tokens";
}

std::string describe_memory(const DeviceMemory& memory, uint64_t kv) {
  const uint64_t used = memory.total - memory.free;
  const uint64_t own = memory.weights + memory.workspace;
  return fmt::format("{:.1f} GiB: weights {:.1f}, workspace {:.1f}, graphs {:.1f}, other {:.1f}, KV {:.1f}",
                     gibibytes(memory.total), gibibytes(memory.weights), gibibytes(memory.workspace),
                     gibibytes(memory.graphs), gibibytes(used - std::min(used, own)), gibibytes(kv));
}

}  // namespace batchmax::worker
