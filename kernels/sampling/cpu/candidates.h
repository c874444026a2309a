// The tokens that a draw chooses from: cut down by top_k, top_p and min_p without sorting the vocabulary.
// One thread; the vectors are kept from row to row.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/cpu/isa.h"
#include "kernels/sampling/sample.h"

namespace batchmax::kernels::cpu {

struct Candidate {
  float logit;
  int32_t id;
};
// The order of candidates: highest logit first, equal logits by the lower id.
inline bool operator<(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

class Candidates {
 public:
  explicit Candidates(Isa isa) : isa_(isa) {}

  // The highest of `logits` [n]; −inf where all are −inf or NaN.
  float highest(const float* logits, int64_t n);

  // Σ exp((logit − highest) / temperature); a logit that equals `highest` weighs 1, NaN and −inf nothing.
  double weight_sum(const float* logits, int64_t n, float temperature, float highest);

  // The drawn id. temperature > 0, `highest` above −inf.
  int32_t draw(const SampleRow& row, const float* logits, int64_t n, float highest);

 private:
  float kth_highest(const float* logits, int64_t n, int32_t k);
  float top_p_floor(const SampleRow& row, const float* logits, int64_t n, float highest, double& sum);
  void gather(const float* logits, int64_t n, float floor);
  void weigh(float temperature, float highest);
  // The last candidate that stays, in order.
  Candidate cut_top_k(int32_t k);
  Candidate cut_top_p(float top_p, const Candidate& last,
                      double sum);  // sum 0: of the candidates up to `last`

  Isa isa_;
  std::vector<float> best_;
  std::vector<Candidate> kept_;  // by id
  std::vector<float> weights_;   // of kept_, padded to whole vectors
  std::vector<size_t> order_;    // indices into kept_
};

}  // namespace batchmax::kernels::cpu
