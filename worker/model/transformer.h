// The decoder-only transformer of the Llama family, one rank's part, over a compressed KV cache. Per layer:
//   norm → q, k, v → rotation and staging → store decode tokens → attention (decode rows, blocks) → mass
//   where the score needs it → store blocks that stay whole → output projection → sum over ranks, scores with
//   it → selection and slot writes → norm → feed-forward → sum over ranks
// The new tokens of a block stand in a staging buffer of one layer until that layer has chosen what stays, so
// between layers no sequence holds more than its rows keep. Step thread.
#pragma once

#include "comm/group/tensor_group.h"
#include "kernels/core/buffer.h"
#include "monitoring/progress.h"
#include "worker/kv/kv_cache.h"
#include "worker/model/local_shape.h"
#include "worker/model/model.h"
#include "worker/model/selection.h"
#include "worker/model/step_buffers.h"
#include "worker/model/weights.h"

namespace batchmax::worker {

class Transformer final : public Model {
 public:
  struct Parts {
    const Weights* weights = nullptr;
    const KvCache* cache = nullptr;
    comm::TensorGroup* group = nullptr;
    kernels::RopeTable rope;
    LocalShape shape;
    SelectionRule rule;
    float rms_eps = 0;
    float softmax_scale = 0;
    monitoring::Progress* progress = nullptr;  // ticks after each layer; null where layers are only launched
  };
  // What the parts point to outlives the model. scratch: step_bytes() of it.
  Transformer(const Parts& parts, const kernels::Buffer& scratch);

  kernels::Tensor forward(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) override;
  kernels::Tensor logits_of(const kernels::Stream& stream, const StepInputs& inputs,
                            const kernels::Tensor& tokens) override;
  int64_t logits_at_once() const override { return logprob_rows_at_once(parts_.shape); }
  void select_victims(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) override;

 private:
  struct Step;  // what the parts of one forward pass share
  void attend(const Step& step, int32_t layer);
  void attend_blocks(const Step& step, int32_t layer);
  void finish_attention(const Step& step, int32_t layer);
  void feed_forward(const Step& step, int32_t layer);
  kernels::Tensor logits(const Step& step);
  void final_norm(const kernels::Stream& stream, const kernels::Tensor& tokens, const kernels::Tensor& last,
                  const kernels::Tensor& last_delta);
  void reduce(const Step& step, int32_t layer, std::span<const kernels::Tensor> tensors);

  const Parts parts_;
  const SelectionContext selection_;
  kernels::Arena arena_;
  StepBuffers buffers_;  // of the last forward pass
};

// 1 / sqrt(head_dim), times the square of a rotary attention factor.
float softmax_scale(const ModelConfig& config);

}  // namespace batchmax::worker
