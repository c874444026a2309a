// cos and sin of the rotary embedding, for all positions a model may see. Pure rotations: attention factors
// go into the softmax scale.
#pragma once

#include "kernels/core/buffer.h"
#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "worker/model/model_config.h"

namespace batchmax::worker {

// Frequencies per pair of elements, head_dim / 2 of them: one list, or two with longrope (short, long).
std::vector<std::vector<double>> rope_frequencies(const ModelConfig& config);

// As far as list 0 holds: a sequence that may come to more positions takes list 1, for all of them.
int32_t short_rope_positions(const ModelConfig& config);

class RopeTables {
 public:
  RopeTables(const kernels::Stream& stream, const ModelConfig& config, int32_t max_positions);
  kernels::RopeTable view() const { return view_; }
  size_t bytes() const { return memory_.bytes(); }

 private:
  kernels::Buffer memory_;
  kernels::RopeTable view_;
};

}  // namespace batchmax::worker
