// Sizes of one rank's part of a model: what buffers are laid out by.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "worker/model/model_config.h"

namespace batchmax::worker {

// A rank of a tensor-parallel group.
struct Shard {
  int32_t rank = 0;
  int32_t size = 1;
};

struct LocalShape {
  int32_t layers = 0;
  int64_t hidden = 0;        // d
  int64_t heads = 0;         // query heads of this rank
  int64_t kv_heads = 0;      // of this rank
  int64_t head_dim = 0;      // D
  int64_t intermediate = 0;  // F of this rank
  int64_t vocab = 0;         // V
  int64_t output_rows = 0;   // rows of the output layer on this rank: V / ranks, or V
  kernels::DType compute = kernels::DType::f32;
  kernels::DType kv = kernels::DType::f32;

  bool output_sharded() const { return output_rows != vocab; }
};

inline LocalShape local_shape(const ModelConfig& config, const Shard& shard, kernels::DType compute,
                              kernels::DType kv) {
  LocalShape shape;
  shape.layers = config.layers;
  shape.hidden = config.hidden;
  shape.heads = config.heads / shard.size;
  shape.kv_heads = config.kv_heads / shard.size;
  shape.head_dim = config.head_dim;
  shape.intermediate = config.intermediate / shard.size;
  shape.vocab = config.vocab_size;
  shape.output_rows =
      config.vocab_size % shard.size == 0 ? config.vocab_size / shard.size : config.vocab_size;
  shape.compute = compute;
  shape.kv = kv;
  return shape;
}

}  // namespace batchmax::worker
