#include "worker/replica.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <variant>

#include "comm/group/nccl_tensor_group.h"
#include "kernels/core/build.h"
#include "kernels/core/device.h"
#include "kernels/core/threads.h"
#include "kernels/linear/linear.h"
#include "worker/executor/executor.h"
#include "worker/kv/kv_cache.h"
#include "worker/kv/kv_capacity.h"
#include "worker/memory_plan.h"
#include "worker/model/model_config.h"
#include "worker/model/rope.h"
#include "worker/model/stopwatch.h"
#include "worker/model/transformer.h"
#include "worker/model/weights.h"

namespace batchmax::worker {
namespace {

using kernels::DType;

// Memory that CUDA takes for one recorded step of a model of some dozen layers.
constexpr uint64_t kGraphBytes = 2 << 20;

// The GPU of this rank: by its number among the processes that were started together on this machine, from
// --first-gpu on. More of them than GPUs share them.
kernels::Stream open_device(const config::Settings& settings, const comm::ControlGroup& control) {
  const int number = settings.first_gpu + control.local_rank();
  return kernels::Stream::cuda(number % std::max(1, kernels::device_count()));
}

kernels::Stream open_stream(const config::Settings& settings, const comm::ControlGroup& control,
                            const monitoring::Log& log) {
  if (settings.backend == "cpu") return kernels::Stream::cpu();
  if (settings.backend == "cuda") return open_device(settings, control);
  if constexpr (kernels::kCudaBuilt) {
    try {
      return open_device(settings, control);
    } catch (const std::runtime_error& none) {
      log.info("no GPU, using the CPU", {{"reason", std::string(none.what())}});
    }
  }
  return kernels::Stream::cpu();
}

// Throws on every rank where some have a GPU and others have none.
void agree_on_backend(comm::ControlGroup& control, const kernels::Stream& stream) {
  const auto own = static_cast<std::byte>(stream.backend());
  bool equal = true;
  for (const auto& other : control.gather({own})) equal = equal && other.at(0) == own;
  if (control.broadcast({static_cast<std::byte>(equal)}).at(0) == std::byte{0}) {
    throw std::runtime_error(
        "some ranks of this group found a GPU and others did not; see the others' log lines, or set "
        "--backend cpu");
  }
}

// The rank's threads and pinned memory go to the side of the machine where its GPU sits.
void settle_by_device(const kernels::Stream& stream, const monitoring::Log& log) {
  const kernels::DeviceFacts facts = kernels::device_facts(stream);
  const bool bound = facts.numa_node >= 0 && kernels::bind_to_numa_node(facts.numa_node);
  log.info("device",
           {{"name", facts.name}, {"bus", facts.bus}, {"numa_node", facts.numa_node}, {"bound", bound}});
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

// Bytes for this rank's KV cache, after weights and scratch have been allocated. sharers: ranks that take
// their part of the same memory.
uint64_t kv_bytes(const config::Settings& settings, const kernels::Stream& stream,
                  const DeviceMemory& memory) {
  const auto sharers = static_cast<uint64_t>(memory.sharers);
  if (settings.kv_cache_memory_bytes > 0) {
    if (settings.kv_cache_memory_bytes > memory.free / sharers) {
      throw std::runtime_error("no memory for the KV cache: --kv-cache-memory-bytes " +
                               std::to_string(settings.kv_cache_memory_bytes) + " for each of " +
                               std::to_string(sharers) + " ranks here, but " + std::to_string(memory.free) +
                               " bytes are available; set at most " + std::to_string(memory.free / sharers));
    }
    return settings.kv_cache_memory_bytes;
  }
  if (stream.backend() == kernels::Backend::cpu) return memory.free / 4 / sharers;
  return kv_share(memory);
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
              const monitoring::Clock& clock, const monitoring::Log& log, monitoring::Progress& progress)
      : model_config_(read_model_config(settings.model)),
        length_(model_length(settings, model_config_)),
        demand_(kv_demand(settings, length_)),
        rule_(selection_rule(settings)),
        limits_(step_limits(settings, length_)),
        stream_(open_stream(settings, control, log)) {
    check_tensor_parallel(model_config_, control.size());
    agree_on_backend(control, stream_);
    comm::TensorGroup* collectives = &tensors;
    if constexpr (kernels::kCudaBuilt) {
      if (on_device()) collectives = &join_devices(control, log);
    }
    share_cores(settings, control);
    const Shard shard{control.rank(), control.size()};
    const DType compute = compute_dtype(settings, model_config_, stream_);
    shape_ = local_shape(model_config_, shard, compute, kv_dtype(settings, compute));
    load(settings, shard, clock, log);
    make_cache(settings, control, log);
    const uint64_t free = kernels::memory_info(stream_).free;
    make_executor(settings, *collectives, control, clock, progress);
    if (executor_->graphs() > 0 && control.rank() == 0) {
      const uint64_t rest = kernels::memory_info(stream_).free;
      log.info("graphs recorded", {{"graphs", executor_->graphs()}, {"bytes", free - std::min(free, rest)}});
    }
    if (control.rank() == 0) {
      if (settings.max_model_len == 0 && !model_config_.length_limit.empty()) {
        log.info("sequences are limited", {{"tokens", length_}, {"by", model_config_.length_limit}});
      }
      log.info("replica ready", {{"weight_bytes", executor_->facts().weight_bytes},
                                 {"kv_bytes", executor_->facts().kv_bytes},
                                 {"dtype", kernels::name_of(compute)},
                                 {"memory", describe_capacity(agreed_.pages, demand_)}});
    }
  }

  StepExecutor& executor() override { return *executor_; }
  const SchedulerLimits& scheduler_limits() const override { return scheduler_limits_; }

 private:
  bool on_device() const { return stream_.backend() == kernels::Backend::cuda; }

  comm::TensorGroup& join_devices(comm::ControlGroup& control, const monitoring::Log& log) {
    settle_by_device(stream_, log);
    comm::NcclGroup made = comm::make_nccl_tensor_group(control, stream_, comm::SmallSums::one_shot);
    if (control.rank() == 0) log.info("ranks joined", {{"by", made.description}});
    sharers_ = made.sharers;
    device_group_ = std::move(made.group);
    return *device_group_;
  }

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
    const size_t workspace = step_bytes(stream_, shape_, rule_.needs(), limits_);
    if (on_device()) {
      const uint64_t free = kernels::memory_info(stream_).free / static_cast<uint64_t>(sharers_);
      if (const auto why = weights_do_not_fit(model_config_, shard.size, shape_.compute, workspace, free))
        throw std::runtime_error(*why);
    }
    weights_ = load_weights(stream_, model_config_, shard, shape_.compute, *source, progress);
    rope_.emplace(stream_, model_config_, length_);
    scratch_ = kernels::Buffer(stream_, workspace);
    logit_state_.emplace(stream_, limits_.sequences, model_config_.vocab_size);
    const std::vector<int32_t> buckets = graph_buckets(limits_.sequences);
    // One row of logits per sequence, or those of a prompt's log probabilities.
    const int64_t logit_rows = std::max<int64_t>(limits_.sequences, logprob_rows_at_once(shape_));
    prepare_matmuls(stream_, weights_, shape_, shard, matmul_rows(buckets, limits_.tokens),
                    matmul_rows(buckets, logit_rows));
  }

  // With every rank's weights in place, so that ranks on one GPU see the same.
  DeviceMemory measure_memory(const config::Settings& settings, comm::ControlGroup& control) {
    control.barrier();
    const kernels::MemoryInfo info = kernels::memory_info(stream_);
    DeviceMemory memory;
    memory.total = info.total;
    memory.free = info.free;
    memory.sharers = on_device() ? sharers_ : control.local_size();
    memory.weights = weights_.bytes;
    memory.workspace = scratch_.bytes() + rope_->bytes() + logit_state_->bytes();
    memory.graphs = kGraphBytes * graph_kinds(settings).size() * graph_buckets(limits_.sequences).size();
    memory.utilization = settings.gpu_memory_utilization;
    return memory;
  }

  // Rows of requests without eviction draw no mass, whatever the score.
  std::vector<RowKind> graph_kinds(const config::Settings& settings) const {
    if (!settings.cuda_graphs || !on_device()) return {};
    if (kernels::needs_mass(rule_.score)) return {RowKind::decode_mass, RowKind::decode};
    return {RowKind::decode};
  }

  void make_cache(const config::Settings& settings, comm::ControlGroup& control, const monitoring::Log& log) {
    const KvShape kv{shape_.layers,
                     static_cast<int32_t>(shape_.kv_heads),
                     static_cast<int32_t>(shape_.head_dim),
                     shape_.kv,
                     settings.max_num_seqs,
                     table_pages(demand_),
                     settings.compression.decode_block};
    const DeviceMemory memory = measure_memory(settings, control);
    const uint64_t bytes = kv_bytes(settings, stream_, memory);
    const auto capacity = kv_capacity(bytes, KvCache::bytes_per_page(kv), demand_);
    if (const auto* small = std::get_if<KvMemoryTooSmall>(&capacity))
      throw std::runtime_error(small->message);
    agreed_ = agree(control, {std::get<int32_t>(capacity), weights_.bytes,
                              memory.free / static_cast<uint64_t>(memory.sharers)});
    if (on_device() && control.rank() == 0) {
      const uint64_t taken = KvCache::bytes_per_page(kv) * static_cast<uint64_t>(agreed_.pages);
      log.info("GPU memory", {{"plan", describe_memory(memory, taken)}});
    }
    try {
      cache_.emplace(stream_, kv, agreed_.pages);
    } catch (const std::bad_alloc&) {
      throw std::runtime_error("no memory for the KV cache: " + std::to_string(bytes) +
                               " bytes could not be had; lower --kv-cache-memory-bytes");
    }
  }

  void make_executor(const config::Settings& settings, comm::TensorGroup& tensors,
                     const comm::ControlGroup& control, const monitoring::Clock& clock,
                     monitoring::Progress& progress) {
    Transformer::Parts parts;
    parts.weights = &weights_;
    parts.cache = &*cache_;
    parts.group = &tensors;
    parts.rope = rope_->view();
    parts.shape = shape_;
    parts.rule = rule_;
    parts.rms_eps = model_config_.rms_eps;
    parts.softmax_scale = softmax_scale(model_config_);
    if (!on_device()) parts.progress = &progress;
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
    scheduler_limits_ = {agreed_.pages,
                         facts.max_table_pages,
                         limits_.sequences,
                         limits_.tokens,
                         kernels::needs_mass(rule_.score),
                         short_rope_positions(model_config_)};
    Executor::Options options;
    // On the CPU a launch does the work; on a GPU the next step is launched while one runs.
    options.lookahead = on_device() ? 1 : 0;
    options.graph_kinds = graph_kinds(settings);
    options.rank = control.rank();
    executor_.emplace(Executor::Parts{&stream_, &*model_, &*cache_, &clock, &*logit_state_}, std::move(facts),
                      limits_, options);
  }

  ModelConfig model_config_;
  int32_t length_;
  KvDemand demand_;
  SelectionRule rule_;
  StepLimits limits_;
  kernels::Stream stream_;
  std::unique_ptr<comm::TensorGroup> device_group_;  // after the stream, before whoever calls it
  int32_t sharers_ = 1;                              // ranks of the group on this rank's GPU
  LocalShape shape_;
  Weights weights_;
  std::optional<RopeTables> rope_;
  kernels::Buffer scratch_;
  std::optional<LogitState> logit_state_;
  Agreement agreed_{};
  std::optional<KvCache> cache_;
  std::optional<Transformer> model_;
  SchedulerLimits scheduler_limits_;
  std::optional<Executor> executor_;
};

}  // namespace

std::unique_ptr<Replica> make_replica(const config::Settings& settings, comm::ControlGroup& control,
                                      comm::TensorGroup& tensors, const monitoring::Clock& clock,
                                      const monitoring::Log& log, monitoring::Progress& progress) {
  return std::make_unique<RealReplica>(settings, control, tensors, clock, log, progress);
}

}  // namespace batchmax::worker
