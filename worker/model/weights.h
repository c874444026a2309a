// One rank's weights, packed for its backend. q, k, v, gate and up are split by output rows, o and down by
// input columns, the output layer by vocabulary rows where the ranks divide it; norms and the embedding are
// on every rank.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/linear/linear.h"
#include "worker/model/local_shape.h"
#include "worker/model/model_config.h"
#include "worker/model/weight_source.h"

namespace batchmax::worker {

struct LayerWeights {
  kernels::Tensor attention_norm;  // [d]
  kernels::Tensor mlp_norm;        // [d]
  kernels::Tensor q_norm, k_norm;  // [D], absent without qk_norm
  kernels::Linear qkv;             // [(Hq + 2 Hkv) D, d], local heads
  kernels::Linear o;               // [d, Hq D]
  kernels::Linear gate_up;         // [2 F, d]: gate, then up
  kernels::Linear down;            // [d, F]
};

struct Weights {
  kernels::Tensor embedding;   // [V, d]
  kernels::Tensor final_norm;  // [d]
  std::vector<LayerWeights> layers;
  std::optional<kernels::Linear> output;  // [V / ranks, d], or [V, d] where the ranks do not divide V
  size_t bytes = 0;                       // on this rank
  std::vector<kernels::Buffer> memory;    // of the tensors above
};

// Called after every layer with the share that is loaded, up to 1.
using LoadProgress = std::function<void(double)>;

// Throws what the source throws: std::runtime_error naming file, tensor, expected and found.
Weights load_weights(const kernels::Stream& stream, const ModelConfig& config, const Shard& shard,
                     kernels::DType compute, WeightSource& source, const LoadProgress& progress);

// The row counts whose matmuls are worth timing: those of `decode` steps, and of steps with up to `tokens`
// tokens in strides as wide as the algorithms are shared.
std::vector<int64_t> matmul_rows(std::span<const int32_t> decode, int64_t tokens);

// Lets the matmuls choose their algorithms for these row counts, before the KV cache takes the memory that is
// left; the output layer for `logit_rows`, since it sees none but tokens whose logits are wanted. Seconds for
// a large model on a GPU, nothing on the CPU. An output layer that every rank of several computes alone keeps
// the library's own guess: timings differ between ranks, the logits must not.
void prepare_matmuls(const kernels::Stream& stream, const Weights& weights, const LocalShape& shape,
                     const Shard& shard, std::span<const int64_t> rows, std::span<const int64_t> logit_rows);

}  // namespace batchmax::worker
