#include "worker/replica.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <variant>

#include "kernels/core/build.h"
#include "kernels/core/threads.h"
#include "kernels/linear/linear.h"
#include "worker/executor/executor.h"
#include "worker/kv/kv_cache.h"
#include "worker/kv/kv_capacity.h"
#include "worker/model/model_config.h"
#include "worker/model/rope.h"
#include "worker/model/stopwatch.h"
#include "worker/model/transformer.h"
#include "worker/model/weights.h"

namespace batchmax::worker {
namespace {

using kernels::DType;

kernels::Stream open_stream(const config::Settings& settings, const comm::ControlGroup& control,
                            const monitoring::Log& log) {
  if (settings.backend == "cpu") return kernels::Stream::cpu();
  if (settings.backend == "cuda") return kernels::Stream::cuda(control.local_rank());
  if constexpr (kernels::kCudaBuilt) {
    try {
      return kernels::Stream::cuda(control.local_rank());
    } catch (const std::runtime_error& none) {
      log.info("no GPU, using the CPU", {{"reason", std::string(none.what())}});
    }
  }
  return kernels::Stream::cpu();
}

void share_cores(const config::Settings& settings, const comm::ControlGroup& control) {
  kernels::use_cpu_threads(settings.threads > 0
                               ? settings.threads
                               : std::max(1, kernels::available_cores() / control.local_size()));
}

// auto: the model's own dtype where the backend computes well in it.
DType compute_dtype(const config::Settings& settings, const ModelConfig& model,
                    const kernels::Stream& stream) {
  if (settings.dtype == "float32") return DType::f32;
  if (settings.dtype == "bfloat16") return DType::bf16;
  return model.stored_f32 ? DType::f32 : kernels::preferred_compute(stream);
}
DType kv_dtype(const config::Settings& settings, DType compute) {
  if (settings.kv_cache_dtype == "float32") return DType::f32;
  if (settings.kv_cache_dtype == "bfloat16") return DType::bf16;
  return compute;
}

int32_t model_length(const config::Settings& settings, const ModelConfig& model) {
  if (settings.max_model_len == 0) return model.max_positions;
  if (settings.max_model_len > model.max_positions) {
    throw std::runtime_error("--max-model-len " + std::to_string(settings.max_model_len) +
                             " is more than this model takes: " + std::to_string(model.max_positions) +
                             " tokens" + (model.length_limit.empty() ? "" : " (" + model.length_limit + ")"));
  }
  return settings.max_model_len;
}

KvDemand kv_demand(const config::Settings& settings, int32_t length) {
  const auto resolved = config::resolve(settings.compression, std::nullopt, std::nullopt);
  if (const auto* small = std::get_if<config::BudgetTooSmall>(&resolved))
    throw std::runtime_error(small->message);
  return {std::get<config::Compression>(resolved), length, settings.max_num_seqs};
}

SelectionRule selection_rule(const config::Settings& settings) {
  const auto score = kernels::score_from_name(settings.score);
  if (!score) throw std::runtime_error("--score " + settings.score + " is unknown");
  return {*score, settings.eviction_scope == config::Scope::layer};
}

StepLimits step_limits(const config::Settings& settings, int32_t length) {
  constexpr int32_t kBlocksPerStep = 4;
  const int32_t tokens = settings.max_num_batched_tokens > 0
                             ? settings.max_num_batched_tokens
                             : settings.max_num_seqs + kBlocksPerStep * settings.compression.block;
  return {tokens, settings.max_num_seqs, length};
}

// Ranks that share this one's memory: those of its host on the CPU, else a GPU is a rank's own.
uint64_t sharers_of_memory(const comm::ControlGroup& control, const kernels::Stream& stream) {
  return stream.backend() == kernels::Backend::cpu ? static_cast<uint64_t>(control.local_size()) : 1;
}

// Bytes for this rank's KV cache, after weights and scratch have been allocated.
uint64_t kv_bytes(const config::Settings& settings, const comm::ControlGroup& control,
                  const kernels::Stream& stream) {
  const kernels::MemoryInfo memory = kernels::memory_info(stream);
  const bool cpu = stream.backend() == kernels::Backend::cpu;
  const uint64_t sharers = sharers_of_memory(control, stream);
  if (settings.kv_cache_memory_bytes > 0) {
    if (settings.kv_cache_memory_bytes > memory.free / sharers) {
      throw std::runtime_error("no memory for the KV cache: --kv-cache-memory-bytes " +
                               std::to_string(settings.kv_cache_memory_bytes) + " for each of " +
                               std::to_string(sharers) + " ranks here, but " + std::to_string(memory.free) +
                               " bytes are available; set at most " + std::to_string(memory.free / sharers));
    }
    return settings.kv_cache_memory_bytes;
  }
  if (cpu) return memory.free / 4 / sharers;
  const auto usable =
      static_cast<uint64_t>(settings.gpu_memory_utilization * static_cast<double>(memory.total));
  const uint64_t used = memory.total - memory.free;
  return usable > used ? usable - used : 0;
}

// What the ranks must agree on.
struct Agreement {
  int32_t pages;
  uint64_t weight_bytes;
  uint64_t free_bytes;  // before the cache is made
};
Agreement agree(comm::ControlGroup& control, Agreement mine) {
  const auto bytes_of = [](const Agreement& value) {
    std::vector<std::byte> bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  };
  const auto value_of = [](const std::vector<std::byte>& bytes) {
    CHECK_EQ(bytes.size(), sizeof(Agreement));
    Agreement value{};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  };
  const auto all = control.gather(bytes_of(mine));
  if (control.rank() == 0) {
    mine.weight_bytes = mine.free_bytes = 0;
    for (const auto& bytes : all) {
      const Agreement other = value_of(bytes);
      mine.pages = std::min(mine.pages, other.pages);
      mine.weight_bytes += other.weight_bytes;
      mine.free_bytes += other.free_bytes;
    }
    control.broadcast(bytes_of(mine));
    return mine;
  }
  return value_of(control.broadcast({}));
}

class RealReplica final : public Replica {
 public:
  RealReplica(const config::Settings& settings, comm::ControlGroup& control, comm::TensorGroup& tensors,
              const monitoring::Clock& clock, const monitoring::Log& log)
      : model_config_(read_model_config(settings.model)),
        length_(model_length(settings, model_config_)),
        demand_(kv_demand(settings, length_)),
        rule_(selection_rule(settings)),
        limits_(step_limits(settings, length_)),
        stream_(open_stream(settings, control, log)) {
    check_tensor_parallel(model_config_, control.size());
    share_cores(settings, control);
    const Shard shard{control.rank(), control.size()};
    const DType compute = compute_dtype(settings, model_config_, stream_);
    shape_ = local_shape(model_config_, shard, compute, kv_dtype(settings, compute));
    load(settings, shard, clock, log);
    make_cache(settings, control);
    make_executor(tensors, control, clock);
    if (control.rank() == 0) {
      log.info("replica ready", {{"weight_bytes", executor_->facts().weight_bytes},
                                 {"kv_bytes", executor_->facts().kv_bytes},
                                 {"dtype", kernels::name_of(compute)},
                                 {"memory", describe_capacity(agreed_.pages, demand_)}});
    }
  }

  StepExecutor& executor() override { return *executor_; }
  const SchedulerLimits& scheduler_limits() const override { return scheduler_limits_; }

 private:
  void load(const config::Settings& settings, const Shard& shard, const monitoring::Clock& clock,
            const monitoring::Log& log) {
    const auto source =
        settings.load_format == "dummy" ? dummy_source(settings.seed) : checkpoint_source(settings.model);
    const Stopwatch loading(clock);
    double next_report = 5;  // seconds: a small model loads in silence
    const auto progress = [&](double share) {
      if (shard.rank != 0 || loading.seconds() < next_report) return;
      next_report = loading.seconds() + 5;
      log.info("loading weights", {{"percent", static_cast<int>(100 * share)}});
    };
    weights_ = load_weights(stream_, model_config_, shard, shape_.compute, *source, progress);
    rope_.emplace(stream_, model_config_, length_);
    scratch_ = kernels::Buffer(stream_, step_bytes(stream_, shape_, rule_.needs(), limits_));
  }

  void make_cache(const config::Settings& settings, comm::ControlGroup& control) {
    const KvShape kv{shape_.layers,
                     static_cast<int32_t>(shape_.kv_heads),
                     static_cast<int32_t>(shape_.head_dim),
                     shape_.kv,
                     settings.max_num_seqs,
                     table_pages(demand_),
                     settings.compression.decode_block};
    const uint64_t bytes = kv_bytes(settings, control, stream_);
    const auto capacity = kv_capacity(bytes, KvCache::bytes_per_page(kv), demand_);
    if (const auto* small = std::get_if<KvMemoryTooSmall>(&capacity))
      throw std::runtime_error(small->message);
    agreed_ = agree(control, {std::get<int32_t>(capacity), weights_.bytes,
                              kernels::memory_info(stream_).free / sharers_of_memory(control, stream_)});
    try {
      cache_.emplace(stream_, kv, agreed_.pages);
    } catch (const std::bad_alloc&) {
      throw std::runtime_error("no memory for the KV cache: " + std::to_string(bytes) +
                               " bytes could not be had; lower --kv-cache-memory-bytes");
    }
  }

  void make_executor(comm::TensorGroup& tensors, const comm::ControlGroup& control,
                     const monitoring::Clock& clock) {
    Transformer::Parts parts;
    parts.weights = &weights_;
    parts.cache = &*cache_;
    parts.group = &tensors;
    parts.clock = &clock;
    parts.rope = rope_->view();
    parts.shape = shape_;
    parts.rule = rule_;
    parts.rms_eps = model_config_.rms_eps;
    parts.softmax_scale = softmax_scale(model_config_);
    model_.emplace(parts, scratch_);

    const auto ranks = static_cast<uint64_t>(control.size());
    const uint64_t page_bytes = KvCache::bytes_per_page(cache_->shape());
    ReplicaFacts facts;
    facts.capacity_pages = agreed_.pages;
    facts.max_sequences = limits_.sequences;
    facts.max_table_pages = cache_->shape().table_pages;
    facts.max_model_len = length_;
    facts.vocab_size = model_config_.vocab_size;
    facts.eos_ids = model_config_.eos_ids;
    facts.kv_bytes_per_slot = ranks * page_bytes / kernels::kPageSlots;
    facts.weight_bytes = agreed_.weight_bytes;
    facts.kv_bytes = ranks * page_bytes * static_cast<uint64_t>(agreed_.pages);
    facts.workspace_bytes = ranks * scratch_.bytes();
    facts.free_bytes = agreed_.free_bytes - std::min(agreed_.free_bytes, facts.kv_bytes);
    facts.kv_heads = model_config_.kv_heads;
    scheduler_limits_ = {agreed_.pages, facts.max_table_pages, limits_.sequences, limits_.tokens,
                         kernels::needs_mass(rule_.score)};
    // On the CPU a launch does the work; on a GPU the next step is launched while one runs.
    const int lookahead = stream_.backend() == kernels::Backend::cpu ? 0 : 1;
    executor_.emplace(Executor::Parts{&stream_, &*model_, &*cache_, &clock}, std::move(facts), limits_,
                      lookahead);
  }

  ModelConfig model_config_;
  int32_t length_;
  KvDemand demand_;
  SelectionRule rule_;
  StepLimits limits_;
  kernels::Stream stream_;
  LocalShape shape_;
  Weights weights_;
  std::optional<RopeTables> rope_;
  kernels::Buffer scratch_;
  Agreement agreed_{};
  std::optional<KvCache> cache_;
  std::optional<Transformer> model_;
  SchedulerLimits scheduler_limits_;
  std::optional<Executor> executor_;
};

}  // namespace

std::unique_ptr<Replica> make_replica(const config::Settings& settings, comm::ControlGroup& control,
                                      comm::TensorGroup& tensors, const monitoring::Clock& clock,
                                      const monitoring::Log& log) {
  return std::make_unique<RealReplica>(settings, control, tensors, clock, log);
}

}  // namespace batchmax::worker
