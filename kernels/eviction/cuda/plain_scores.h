// Scores that read no key: of one candidate, by one thread.
#pragma once

#include "kernels/eviction/cuda/candidates.h"

namespace batchmax::kernels::cuda {

__host__ __device__ constexpr bool reads_keys(Score score) {
  return score == Score::key_distance || score == Score::key_diff;
}

// The mass for score `average`, the score itself for `recency` and `random`. position: of candidate i; not
// read for `average`.
__device__ inline float plain_value(const CandidateArgs& args, const HeadCandidates& candidates,
                                    const Row& row, int32_t layer, int32_t head, int32_t i,
                                    int32_t position) {
  switch (args.score) {
    case Score::average:
      return candidates.mass(i);
    case Score::random:
      return random_score(row.seed, layer, args.head_offset + head, position);
    default:
      return static_cast<float>(position);
  }
}

}  // namespace batchmax::kernels::cuda
