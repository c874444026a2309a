// Mass that a block's queries give to the resident slots and to the block's own keys (docs/method.md):
//   mass[resident j] += Σ_i p_ij     mass_new[j] = Σ_{i > j} p_ij     p_ij = exp(q_i·k_j · scale − lse_i)
// summed over the queries i of the block and the query heads of the GQA group. The diagonal is left out.
#pragma once

#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels {

struct PrefillMass {
  Tensor q;    // [T, Hq, D] as given to prefill_attention
  Tensor lse;  // [T, Hq] fp32 from prefill_attention
  Tensor k;    // [T, Hkv, D] staging, KV dtype
  KvView kv;   // mass of slots [0, row.resident) is updated in place
  int32_t layer = 0;
  Rows rows;
  float scale = 0;  // > 0
  Tensor mass_new;  // out [T, Hkv] fp32; only the rows' tokens are written
};
// Deterministic: the order of additions does not depend on what else is in the batch.
void prefill_mass(const Stream& stream, const PrefillMass& args);

}  // namespace batchmax::kernels
