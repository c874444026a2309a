// The scratch memory of a step, laid out in an Arena by one function: run once over a measuring arena for the
// largest step, it says how much to allocate at start; run at every step, it hands out the tensors.
#pragma once

#include <cstdint>

#include "kernels/core/buffer.h"
#include "worker/model/local_shape.h"
#include "worker/plan/step_plan.h"

namespace batchmax::worker {

// What a step's buffers depend on.
struct StepSize {
  int64_t tokens = 0;
  int64_t samples = 0;
  int64_t logprobs = 0;  // tokens whose successor's log probability is wanted
  int64_t decode_rows = 0;
  int64_t replace_rows = 0;
  int64_t compact_rows = 0;
  int64_t replace_pitch = 0;  // >= the candidates of any such row
  int64_t compact_pitch = 0;
  int64_t tail = 0;  // slots past `keep` of the compact rows that one pass moves
};
StepSize size_of_step(const StepPlan& plan);

// Bounds of every step of a replica.
struct StepLimits {
  int32_t tokens = 0;     // max-num-batched-tokens
  int32_t sequences = 0;  // max-num-seqs: rows, samples
  int32_t length = 0;     // max-model-len: candidates of a selection
};
StepSize largest_step(const StepLimits& limits);

// Which of the buffers a server's settings need.
struct SelectionNeeds {
  bool mass = false;          // the score needs mass
  bool layer_scores = false;  // scope layer
};

struct StepBuffers {
  kernels::Tensor residual;    // [T, d]
  kernels::Tensor hidden;      // [T, d] a norm's output
  kernels::Tensor delta;       // [T, d] what the residual gains next
  kernels::Tensor qkv;         // [T, (Hq + 2 Hkv) D]
  kernels::Tensor q;           // [T, Hq, D]
  kernels::Tensor k, v;        // [T, Hkv, D] KV dtype: the staging buffer of one layer
  kernels::Tensor attention;   // [T, Hq, D]
  kernels::Tensor lse;         // [T, Hq] fp32
  kernels::Tensor mass_new;    // [T, Hkv] fp32; absent where no score needs it
  kernels::Tensor gate_up;     // [T, 2 F]
  kernels::Tensor activated;   // [T, F]
  kernels::Tensor last;        // [R, d] residual of the sampled tokens
  kernels::Tensor last_delta;  // [R, d]
  kernels::Tensor part;        // [R, V / ranks] fp32; absent where the output layer is not sharded
  kernels::Tensor logits;      // [R, V] fp32
  // The same four for a part N of the step's tokens, for their log probabilities; absent where none are
  // wanted
  kernels::Tensor scored_last, scored_delta, scored_part, scored_logits;
  kernels::Tensor decode_scratch;
  kernels::Tensor selection_scratch;
  int64_t replace_pitch = 0;
  int64_t compact_pitch = 0;
  kernels::Tensor replace_scores;  // [1, rows, pitch] fp32, scope layer
  kernels::Tensor compact_scores;  // [1, rows, pitch] fp32, scope layer
  kernels::Tensor replace_dest;    // [T, Hkv] i32
  kernels::Tensor compact_dest;    // [tail, Hkv] i32
};
StepBuffers lay_out(kernels::Arena& arena, const kernels::Stream& stream, const LocalShape& shape,
                    const SelectionNeeds& needs, const StepSize& size);

// Tokens whose logits are computed at once for log probabilities: a step may want those of all its tokens.
int64_t logprob_rows_at_once(const LocalShape& shape);

// Scores of all layers for the victims of some rows.
struct VictimBuffers {
  int64_t pitch = 0;
  kernels::Tensor scores;  // [L, rows, pitch] fp32, scope layer
  kernels::Tensor scratch;
};
VictimBuffers lay_out_victims(kernels::Arena& arena, const kernels::Stream& stream, const LocalShape& shape,
                              const SelectionNeeds& needs, int64_t rows, int64_t pitch);
// Rows whose victims are selected in one pass.
int64_t victim_rows_at_once(const LocalShape& shape, int64_t pitch);

// Bytes that any step within the limits needs.
size_t step_bytes(const kernels::Stream& stream, const LocalShape& shape, const SelectionNeeds& needs,
                  const StepLimits& limits);

}  // namespace batchmax::worker
