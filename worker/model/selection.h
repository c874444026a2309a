// Who stays in the KV cache: scores, selection and slot writes of a model's layers, on one rank. Two moments:
// inside a layer while blocks are prefilled (BlockSelection), and after a step for the victim queues of all
// layers together (VictimSelection). Step thread.
#pragma once

#include <vector>

#include "comm/group/tensor_group.h"
#include "kernels/eviction/score.h"
#include "worker/kv/kv_cache.h"
#include "worker/model/model.h"
#include "worker/model/step_buffers.h"

namespace batchmax::worker {

// What selects, the same for every sequence of a server.
struct SelectionRule {
  kernels::Score score = kernels::Score::key_distance;
  bool layer_scope = false;  // one keep set per layer, from scores summed over the KV heads of all ranks

  SelectionNeeds needs() const { return {kernels::needs_mass(score), layer_scope}; }
  bool reduces() const { return layer_scope && kernels::needs_reduction(score); }
};

struct SelectionContext {
  SelectionRule rule;
  const KvCache* cache = nullptr;
  kernels::RopeTable rope;
  int32_t head_offset = 0;  // global index of this rank's first KV head
};

// One layer's blocks. Order: score() after the layer's attention, then what it names is summed over the ranks
// together with the layer's output, then write().
class BlockSelection {
 public:
  BlockSelection(const SelectionContext& context, const StepInputs& inputs, const StepBuffers& buffers)
      : context_(context),
        replace_(inputs.rows_of(RowKind::replace, RowKind::replace)),
        compact_(inputs.rows_of(RowKind::compact, RowKind::compact)),
        buffers_(buffers) {}

  bool empty() const { return replace_.count + compact_.count == 0; }
  // Scope layer: computes scores and appends those that must be summed over the ranks.
  void score(const kernels::Stream& stream, int32_t layer, std::vector<kernels::Tensor>& reduce) const;
  // Chooses, writes the survivors of `replace` rows over the victims, moves those of `compact` rows together.
  void write(const kernels::Stream& stream, int32_t layer) const;

 private:
  kernels::Candidates candidates(kernels::Pool pool, const kernels::Rows& rows, int32_t layer) const;
  void compact(const kernels::Stream& stream, int32_t layer) const;

  const SelectionContext& context_;
  kernels::Rows replace_;
  kernels::Rows compact_;
  const StepBuffers& buffers_;
};

// Refills the victim queues of `rows` in all layers. Long lists of rows go in passes that fit the arena.
void select_victims(const kernels::Stream& stream, const SelectionContext& context, const LocalShape& shape,
                    const kernels::Rows& rows, kernels::Arena& arena, comm::TensorGroup& group,
                    StepTimer& timer);

}  // namespace batchmax::worker
