#include "worker/model/weights.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace batchmax::worker {
namespace {

using kernels::DType;
using kernels::Linear;
using kernels::Tensor;

// Stacks parts of checkpoint tensors row by row into one host matrix.
class HostMatrix {
 public:
  HostMatrix(DType dtype, int64_t rows, int64_t columns)
      : dtype_(dtype),
        columns_(columns),
        bytes_(static_cast<size_t>(rows * columns) * size_of(dtype)),
        data_(std::make_unique_for_overwrite<std::byte[]>(bytes_)),
        rows_(rows) {}

  void add(WeightSource& source, const std::string& name, const Checkpoint::Part& part) {
    source.matrix(name, part, dtype_,
                  data_.get() + static_cast<size_t>(filled_ * columns_) * size_of(dtype_));
    filled_ += part.rows;
  }
  void add_vector(WeightSource& source, const std::string& name, int64_t all, int64_t begin, int64_t count) {
    source.vector(name, all, begin, count, dtype_,
                  data_.get() + static_cast<size_t>(filled_) * size_of(dtype_));
    filled_ += count;
  }
  Tensor matrix() const { return Tensor(data_.get(), dtype_, {rows_, columns_}); }
  Tensor vector() const { return Tensor(data_.get(), dtype_, {rows_}); }

 private:
  DType dtype_;
  int64_t columns_;
  size_t bytes_;
  std::unique_ptr<std::byte[]> data_;
  int64_t rows_;
  int64_t filled_ = 0;
};

class Loader {
 public:
  Loader(const kernels::Stream& stream, const ModelConfig& config, const Shard& shard, DType compute,
         WeightSource& source, const LoadProgress& progress)
      : stream_(stream),
        config_(config),
        shard_(shard),
        compute_(compute),
        source_(source),
        progress_(progress),
        q_rows_(int64_t{config.heads} * config.head_dim),
        kv_rows_(int64_t{config.kv_heads} * config.head_dim) {}

  Weights load() {
    Weights weights;
    memory_ = &weights.memory;
    refuse_what_config_denies();
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      weights.layers.push_back(load_layer("model.layers." + std::to_string(layer) + "."));
      progress_((layer + 1.0) / (config_.layers + 1.0));
    }
    weights.final_norm = keep_vector("model.norm.weight", config_.hidden);
    load_ends(weights);
    for (const LayerWeights& layer : weights.layers) {
      for (const Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
        bytes_ += linear->weight_bytes();
    }
    weights.bytes = bytes_ + weights.output->weight_bytes();
    progress_(1);
    return weights;
  }

 private:
  struct Span {
    int64_t begin, count;
  };
  // Weights that nobody would read: the answers would be wrong without a word.
  void refuse_what_config_denies() {
    source_.refuse("model.layers." + std::to_string(config_.layers) + ".",
                   "config.json has num_hidden_layers " + std::to_string(config_.layers));
    const std::string first = "model.layers.0.";
    const auto denied = [&](const char* name) { source_.refuse(first + name, "config.json says so"); };
    if (!config_.qkv_bias) denied("self_attn.q_proj.bias");
    if (!config_.o_bias) denied("self_attn.o_proj.bias");
    if (!config_.mlp_bias) denied("mlp.down_proj.bias");
    if (!config_.qk_norm) denied("self_attn.q_norm.");
  }

  Span share(int64_t all) const { return {all / shard_.size * shard_.rank, all / shard_.size}; }

  Tensor keep(const Tensor& host) {
    memory_->emplace_back(stream_, host.bytes());
    void* data = memory_->back().data();
    kernels::upload(stream_, data, host.data(), host.bytes());
    stream_.synchronize();
    bytes_ += host.bytes();
    return host.rank() == 1 ? Tensor(data, compute_, {host.dim(0)})
                            : Tensor(data, compute_, {host.dim(0), host.dim(1)});
  }

  Tensor keep_vector(const std::string& name, int64_t count) {
    HostMatrix host(compute_, count, 1);
    host.add_vector(source_, name, count, 0, count);
    return keep(host.vector());
  }

  // Rows of one or several checkpoint tensors that this rank computes: each entry (name, first row, all
  // rows).
  struct RowBlock {
    std::string name;
    int64_t all_rows;  // of the tensor
    int64_t first;     // row of the tensor where this block begins
    int64_t rows;      // of the block over all ranks
  };
  Linear by_rows(const std::vector<RowBlock>& blocks, bool bias) {
    int64_t local = 0;
    for (const RowBlock& block : blocks) local += share(block.rows).count;
    HostMatrix weight(compute_, local, config_.hidden);
    HostMatrix biases(DType::f32, bias ? local : 1, 1);
    for (const RowBlock& block : blocks) {
      const Span span = share(block.rows);
      weight.add(source_, block.name + ".weight",
                 {block.all_rows, config_.hidden, block.first + span.begin, span.count, 0, config_.hidden});
      if (bias)
        biases.add_vector(source_, block.name + ".bias", block.all_rows, block.first + span.begin,
                          span.count);
    }
    return Linear(stream_, library_, weight.matrix(), bias ? biases.vector() : Tensor(), compute_);
  }

  // The partial products are summed over the ranks, so one rank alone adds the bias.
  Linear by_columns(const std::string& name, int64_t columns, bool bias) {
    const Span span = share(columns);
    HostMatrix weight(compute_, config_.hidden, span.count);
    weight.add(source_, name + ".weight",
               {config_.hidden, columns, 0, config_.hidden, span.begin, span.count});
    const bool adds_bias = bias && shard_.rank == 0;
    HostMatrix biases(DType::f32, adds_bias ? config_.hidden : 1, 1);
    if (adds_bias) biases.add_vector(source_, name + ".bias", config_.hidden, 0, config_.hidden);
    return Linear(stream_, library_, weight.matrix(), adds_bias ? biases.vector() : Tensor(), compute_);
  }

  Linear load_qkv(const std::string& attention) {
    if (config_.fused_projections) {
      const std::string name = attention + "qkv_proj";
      const int64_t all = q_rows_ + 2 * kv_rows_;
      return by_rows({{name, all, 0, q_rows_},
                      {name, all, q_rows_, kv_rows_},
                      {name, all, q_rows_ + kv_rows_, kv_rows_}},
                     config_.qkv_bias);
    }
    return by_rows({{attention + "q_proj", q_rows_, 0, q_rows_},
                    {attention + "k_proj", kv_rows_, 0, kv_rows_},
                    {attention + "v_proj", kv_rows_, 0, kv_rows_}},
                   config_.qkv_bias);
  }

  Linear load_gate_up(const std::string& mlp) {
    const int64_t f = config_.intermediate;
    if (config_.fused_projections) {
      return by_rows({{mlp + "gate_up_proj", 2 * f, 0, f}, {mlp + "gate_up_proj", 2 * f, f, f}},
                     config_.mlp_bias);
    }
    return by_rows({{mlp + "gate_proj", f, 0, f}, {mlp + "up_proj", f, 0, f}}, config_.mlp_bias);
  }

  LayerWeights load_layer(const std::string& prefix) {
    const std::string attention = prefix + "self_attn.";
    const bool norms = config_.qk_norm;
    return LayerWeights{
        keep_vector(prefix + "input_layernorm.weight", config_.hidden),
        keep_vector(prefix + "post_attention_layernorm.weight", config_.hidden),
        norms ? keep_vector(attention + "q_norm.weight", config_.head_dim) : Tensor(),
        norms ? keep_vector(attention + "k_norm.weight", config_.head_dim) : Tensor(),
        load_qkv(attention),
        by_columns(attention + "o_proj", q_rows_, config_.o_bias),
        load_gate_up(prefix + "mlp."),
        by_columns(prefix + "mlp.down_proj", config_.intermediate, config_.mlp_bias),
    };
  }

  // Embedding and output layer, which may be one tensor.
  void load_ends(Weights& weights) {
    const int64_t vocabulary = config_.vocab_size;
    const Checkpoint::Part whole{vocabulary, config_.hidden, 0, vocabulary, 0, config_.hidden};
    HostMatrix table(compute_, vocabulary, config_.hidden);
    table.add(source_, "model.embed_tokens.weight", whole);
    weights.embedding = keep(table.matrix());
    const Span rows = vocabulary % shard_.size == 0 ? share(vocabulary) : Span{0, vocabulary};
    // A checkpoint that brings an output layer has it for a reason (fine-tuned beside the embedding),
    // whatever its config.json says: as in transformers 5, that one counts.
    if (config_.tied_embeddings && !source_.has("lm_head.weight")) {
      weights.output.emplace(stream_, library_, table.matrix().rows(rows.begin, rows.count), Tensor(),
                             compute_);
    } else {
      HostMatrix output(compute_, rows.count, config_.hidden);
      output.add(source_, "lm_head.weight",
                 {vocabulary, config_.hidden, rows.begin, rows.count, 0, config_.hidden});
      weights.output.emplace(stream_, library_, output.matrix(), Tensor(), compute_);
    }
  }

  const kernels::Stream& stream_;
  kernels::MatmulLibrary library_{stream_};  // kept by the Linears
  const ModelConfig& config_;
  Shard shard_;
  DType compute_;
  WeightSource& source_;
  const LoadProgress& progress_;
  int64_t q_rows_;
  int64_t kv_rows_;
  std::vector<kernels::Buffer>* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace

std::vector<int64_t> matmul_rows(std::span<const int32_t> decode, int64_t tokens) {
  std::vector<int64_t> rows(decode.begin(), decode.end());
  for (int64_t count = 64; count < tokens; count += count < 1024 ? 64 : 512) rows.push_back(count);
  rows.push_back(tokens);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

void prepare_matmuls(const kernels::Stream& stream, const Weights& weights, const LocalShape& shape,
                     const Shard& shard, std::span<const int64_t> rows, std::span<const int64_t> logit_rows) {
  for (const int64_t count : rows) {
    for (const LayerWeights& layer : weights.layers) {
      for (const Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
        linear->prepare(stream, count, shape.compute);
      }
    }
  }
  if (shard.size > 1 && !shape.output_sharded()) return;
  for (const int64_t count : logit_rows) weights.output->prepare(stream, count, DType::f32);
}

Weights load_weights(const kernels::Stream& stream, const ModelConfig& config, const Shard& shard,
                     DType compute, WeightSource& source, const LoadProgress& progress) {
  return Loader(stream, config, shard, compute, source, progress).load();
}

}  // namespace batchmax::worker
