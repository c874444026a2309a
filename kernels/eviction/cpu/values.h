// What the candidates of one (layer, row, KV head) are worth, before ages count.
#pragma once

#include "kernels/eviction/score.h"

namespace batchmax::kernels::cpu {

// values [candidate_count]: the mass for score `average`, the score itself for the others. One thread.
void head_values(const Candidates& candidates, int32_t layer, const Row& row, int32_t head, float* values);
// positions [candidate_count].
void head_positions(const Candidates& candidates, int32_t layer, const Row& row, int32_t head,
                    int32_t* positions);

}  // namespace batchmax::kernels::cpu
