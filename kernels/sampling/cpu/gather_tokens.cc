// Four bytes per decode row: no team.
#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cpu {

void gather_tokens(const Stream&, const Rows& rows, const Tensor& last_token, const Tensor& ids) {
  const auto* from = last_token.as<int32_t>();
  auto* to = ids.as<int32_t>();
  for (int32_t r = 0; r < rows.count; ++r) {
    if (rows.data[r].sequence != kNoSequence) to[rows.data[r].token_begin] = from[rows.data[r].sequence];
  }
}

}  // namespace batchmax::kernels::cpu
