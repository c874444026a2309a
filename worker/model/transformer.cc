#include "worker/model/transformer.h"

#include <array>
#include <cmath>
#include <vector>

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/prefill_mass.h"
#include "kernels/eviction/slot_write.h"
#include "kernels/linear/embedding.h"
#include "kernels/transform/rms_norm.h"
#include "kernels/transform/rope_stage.h"
#include "kernels/transform/silu_mul.h"

namespace batchmax::worker {

using kernels::Rows;
using kernels::Tensor;

struct Transformer::Step {
  const kernels::Stream& stream;
  const StepInputs& inputs;
  const StepBuffers buffers;
  const BlockSelection selection;
  StepTimer& timer;

  Step(const kernels::Stream& on, const StepInputs& given, const StepBuffers& laid_out,
       const SelectionContext& context, StepTimer& times)
      : stream(on), inputs(given), buffers(laid_out), selection(context, given, buffers), timer(times) {}
  Step(const Step&) = delete;  // the selection refers to the buffers
};

namespace {

// The same elements as [rows, columns].
Tensor flat(const Tensor& tensor) {
  return Tensor(tensor.data(), tensor.dtype(), {tensor.dim(0), tensor.dim(1) * tensor.dim(2)});
}

}  // namespace

Transformer::Transformer(const Parts& parts, const kernels::Buffer& scratch)
    : parts_(parts),
      selection_{parts.rule, parts.cache, parts.rope,
                 static_cast<int32_t>(parts.group->rank() * parts.shape.kv_heads)},
      arena_(scratch) {}

Tensor Transformer::forward(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) {
  arena_.reset();
  const Step step(stream, inputs,
                  lay_out(arena_, stream, parts_.shape, parts_.rule.needs(), size_of_step(*inputs.plan)),
                  selection_, timer);
  const StepBuffers& at = buffers_ = step.buffers;
  kernels::embedding(stream, inputs.ids, parts_.weights->embedding, at.residual);
  for (int32_t layer = 0; layer < parts_.shape.layers; ++layer) {
    const Tensor& norm = parts_.weights->layers[static_cast<size_t>(layer)].attention_norm;
    if (layer == 0) {
      kernels::rms_norm(stream, at.residual, norm, parts_.rms_eps, at.hidden);
    } else {
      kernels::add_rms_norm(stream, at.residual, at.delta, norm, parts_.rms_eps, at.hidden);
    }
    attend(step, layer);
    finish_attention(step, layer);
    feed_forward(step, layer);
    if (parts_.progress != nullptr) parts_.progress->tick();
  }
  return inputs.plan->samples.empty() ? Tensor() : logits(step);
}

void Transformer::attend(const Step& step, int32_t layer) {
  const LayerWeights& weights = parts_.weights->layers[static_cast<size_t>(layer)];
  const StepBuffers& at = step.buffers;
  weights.qkv.run(step.stream, at.hidden, at.qkv);
  kernels::rope_stage(step.stream, {at.qkv, step.inputs.positions, step.inputs.rope_tables, parts_.rope,
                                    weights.q_norm, weights.k_norm, parts_.rms_eps, at.q, at.k, at.v});
  const Rows decode = step.inputs.rows_of(RowKind::decode_mass, RowKind::decode);
  if (decode.count > 0) {
    kernels::append_slots(step.stream, parts_.cache->view(), layer, decode, {at.k, at.v, Tensor()},
                          parts_.cache->queues());
    kernels::DecodeAttention args{at.q,         parts_.cache->view(), layer, Rows(), parts_.softmax_scale,
                                  at.attention, at.decode_scratch};
    args.rows = step.inputs.rows_of(RowKind::decode_mass, RowKind::decode_mass);
    if (args.rows.count > 0) kernels::decode_attention_mass(step.stream, args);
    args.rows = step.inputs.rows_of(RowKind::decode, RowKind::decode);
    if (args.rows.count > 0) kernels::decode_attention(step.stream, args);
  }
  attend_blocks(step, layer);
}

void Transformer::attend_blocks(const Step& step, int32_t layer) {
  const Rows blocks = step.inputs.rows_of(RowKind::append, RowKind::replace);
  if (blocks.count == 0) return;
  const StepBuffers& at = step.buffers;
  const kernels::KvView& kv = parts_.cache->view();
  kernels::prefill_attention(
      step.stream, {at.q, at.k, at.v, kv, layer, blocks, parts_.softmax_scale, at.attention, at.lse});
  if (at.mass_new) {
    // Blocks of mode off too: they share their row kind, and the kernel costs a few per cent.
    kernels::prefill_mass(step.stream,
                          {at.q, at.lse, at.k, kv, layer, blocks, parts_.softmax_scale, at.mass_new});
  }
  const Rows whole = step.inputs.rows_of(RowKind::append, RowKind::compact);
  if (whole.count > 0) {
    kernels::append_slots(step.stream, kv, layer, whole, {at.k, at.v, at.mass_new}, Tensor());
  }
}

void Transformer::finish_attention(const Step& step, int32_t layer) {
  const LayerWeights& weights = parts_.weights->layers[static_cast<size_t>(layer)];
  const StepBuffers& at = step.buffers;
  weights.o.run(step.stream, flat(at.attention), at.delta);
  std::vector<Tensor> summed{at.delta};
  if (step.selection.empty()) {
    reduce(step, layer, summed);
  } else {
    {
      const StepTimer::Span scoring = step.timer.measure(StepPart::selection, layer, parts_.shape.layers);
      step.selection.score(step.stream, layer, summed);
    }
    reduce(step, layer, summed);
    const StepTimer::Span writing = step.timer.measure(StepPart::selection, layer, parts_.shape.layers);
    step.selection.write(step.stream, layer);
  }
  kernels::add_rms_norm(step.stream, at.residual, at.delta, weights.mlp_norm, parts_.rms_eps, at.hidden);
}

void Transformer::feed_forward(const Step& step, int32_t layer) {
  const LayerWeights& weights = parts_.weights->layers[static_cast<size_t>(layer)];
  const StepBuffers& at = step.buffers;
  weights.gate_up.run(step.stream, at.hidden, at.gate_up);
  kernels::silu_mul(step.stream, at.gate_up, at.activated);
  weights.down.run(step.stream, at.activated, at.delta);
  reduce(step, layer, std::array{at.delta});
}

Tensor Transformer::logits(const Step& step) {
  const StepBuffers& at = step.buffers;
  const Weights& weights = *parts_.weights;
  final_norm(step.stream, step.inputs.sample_tokens, at.last, at.last_delta);
  if (!parts_.shape.output_sharded()) {
    weights.output->run(step.stream, at.last_delta, at.logits);
    return at.logits;
  }
  weights.output->run(step.stream, at.last_delta, at.part);
  const StepTimer::Span gathering = step.timer.measure(StepPart::all_reduce);
  parts_.group->all_gather(step.stream, at.part, at.logits);
  return at.logits;
}

// What the output layer takes of some tokens, into last_delta.
void Transformer::final_norm(const kernels::Stream& stream, const Tensor& tokens, const Tensor& last,
                             const Tensor& last_delta) {
  // The embedding op copies rows: here those of the tokens.
  kernels::embedding(stream, tokens, buffers_.residual, last);
  kernels::embedding(stream, tokens, buffers_.delta, last_delta);
  kernels::add_rms_norm(stream, last, last_delta, parts_.weights->final_norm, parts_.rms_eps, last_delta);
}

Tensor Transformer::logits_of(const kernels::Stream& stream, const StepInputs&, const Tensor& tokens) {
  const int64_t count = tokens.dim(0);
  const Tensor delta = buffers_.scored_delta.rows(0, count);
  const Tensor logits = buffers_.scored_logits.rows(0, count);
  final_norm(stream, tokens, buffers_.scored_last.rows(0, count), delta);
  if (!parts_.shape.output_sharded()) {
    parts_.weights->output->run(stream, delta, logits);
    return logits;
  }
  const Tensor part = buffers_.scored_part.rows(0, count);
  parts_.weights->output->run(stream, delta, part);
  parts_.group->all_gather(stream, part, logits);
  return logits;
}

void Transformer::reduce(const Step& step, int32_t layer, std::span<const Tensor> tensors) {
  if (parts_.group->size() == 1) return;
  const StepTimer::Span reduction = step.timer.measure(StepPart::all_reduce, layer, parts_.shape.layers);
  parts_.group->all_reduce(step.stream, tensors);
}

void Transformer::select_victims(const kernels::Stream& stream, const StepInputs& inputs, StepTimer& timer) {
  if (inputs.victim_rows.count == 0) return;
  worker::select_victims(stream, selection_, parts_.shape, inputs.victim_rows, arena_, *parts_.group, timer);
}

float softmax_scale(const ModelConfig& config) {
  const double factor = config.rope.attention_factor;
  return static_cast<float>(factor * factor / std::sqrt(static_cast<double>(config.head_dim)));
}

}  // namespace batchmax::worker
