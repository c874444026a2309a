// A few integers per row: no team.
#include <algorithm>

#include "kernels/sampling/backends.h"

namespace batchmax::kernels::cpu {

void count_tokens(const Stream&, const CountRow* rows_data, int32_t rows, const Tensor& ids,
                  const Tensor& counts) {
  const int64_t vocabulary = counts.dim(1);
  for (int32_t r = 0; r < rows; ++r) {
    const CountRow& row = rows_data[r];
    if (row.sequence == kNoSequence) continue;
    int32_t* own = counts.as<int32_t>() + row.sequence * vocabulary;
    if (row.restart != 0) std::fill_n(own, vocabulary, 0);
    const int32_t* tokens = ids.as<int32_t>() + row.token_begin;
    for (int32_t i = 0; i < row.token_count; ++i) {
      int32_t& count = own[tokens[i]];
      count = i < row.prompt_count ? count | 1 : count + 2;
    }
  }
}

}  // namespace batchmax::kernels::cpu
