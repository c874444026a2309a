#include "kernels/sampling/cpu/candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/core/cpu/lanes.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Highest {
  [[gnu::always_inline]] static void run(const float* logits, int64_t n, float& result) {
    const Floats lowest = Floats{} + kMinusInfinity;
    Floats high = lowest;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Floats value;
      load(logits + i, value);
      high = value > high ? value : high;  // NaN compares false
    }
    result = kMinusInfinity;
    for (int lane = 0; lane < kLanes; ++lane) result = std::max(result, high[lane]);
    for (; i < n; ++i) result = logits[i] > result ? logits[i] : result;
  }
};

// Weight of a logit; NaN and −inf weigh nothing, the highest 1 even where it is +inf.
[[gnu::always_inline]] inline void weight(const Floats& logit, float temperature, float highest, Floats& to) {
  exponential((logit - highest) / temperature, to);
  const Floats zero = {};
  to = logit == highest ? zero + 1.0F : (to > 0.0F ? to : zero);
}

// Sums runs of 64 vectors in fp32 and the runs in double.
struct WeightSum {
  [[gnu::always_inline]] static void run(const float* logits, int64_t n, float temperature, float highest,
                                         double& sum) {
    sum = 0;
    for (int64_t begin = 0; begin < n; begin += 64 * kLanes) {
      const int64_t end = std::min(n, begin + 64 * kLanes);
      Floats run_sum = {};
      int64_t i = begin;
      for (; i + kLanes <= end; i += kLanes) {
        Floats logit, w;
        load(logits + i, logit);
        weight(logit, temperature, highest, w);
        run_sum += w;
      }
      if (i < end) {
        float rest[kLanes];
        for (int lane = 0; lane < kLanes; ++lane)
          rest[lane] = i + lane < end ? logits[i + lane] : kMinusInfinity;
        Floats logit, w;
        load(rest, logit);
        weight(logit, temperature, highest, w);
        run_sum += w;
      }
      sum += static_cast<double>(total(run_sum));
    }
  }
};

// weights [n, a multiple of 16] holds logits, then their weights.
struct Weigh {
  [[gnu::always_inline]] static void run(float* weights, int64_t n, float temperature, float highest) {
    for (int64_t i = 0; i < n; i += kLanes) {
      Floats logit, w;
      load(weights + i, logit);
      weight(logit, temperature, highest, w);
      store(w, weights + i);
    }
  }
};

}  // namespace

float Candidates::highest(const float* logits, int64_t n) {
  float result;
  run_on<Highest>(isa_, logits, n, result);
  return result;
}

double Candidates::weight_sum(const float* logits, int64_t n, float temperature, float highest) {
  double sum;
  run_on<WeightSum>(isa_, logits, n, temperature, highest, sum);
  return sum;
}

// Keeps the best k of those seen in a buffer of 2k; most logits fail the one comparison with the k-th best so
// far.
float Candidates::kth_highest(const float* logits, int64_t n, int32_t k) {
  const auto keep = static_cast<size_t>(k);
  best_.clear();
  float floor = kMinusInfinity;
  const auto shrink = [&] {
    std::nth_element(best_.begin(), best_.begin() + (k - 1), best_.end(), std::greater<>());
    best_.resize(keep);
    floor = best_[keep - 1];
  };
  for (int64_t i = 0; i < n; ++i) {
    if (!(logits[i] > floor)) continue;
    best_.push_back(logits[i]);
    if (best_.size() == 2 * keep) shrink();
  }
  if (best_.size() >= keep) shrink();
  return floor;
}

// A logit below which nothing is needed to reach top_p: all n tokens below weight (1 − top_p) · sum / n
// together weigh less than the share that may be missing.
float Candidates::top_p_floor(const SampleRow& row, const float* logits, int64_t n, float highest,
                              double& sum) {
  sum = weight_sum(logits, n, row.temperature, highest);
  const double least_weight = (1.0 - static_cast<double>(row.top_p)) * sum / static_cast<double>(n);
  constexpr double kMargin = 0.01;  // far above the rounding of exp and log
  return static_cast<float>(static_cast<double>(highest) +
                            static_cast<double>(row.temperature) * (std::log(least_weight) - kMargin));
}

void Candidates::gather(const float* logits, int64_t n, float floor) {
  kept_.clear();
  for (int64_t i = 0; i < n; ++i) {
    if (logits[i] >= floor && logits[i] > kMinusInfinity)
      kept_.push_back({logits[i], static_cast<int32_t>(i)});
  }
}

void Candidates::weigh(float temperature, float highest) {
  const size_t padded = (kept_.size() + kLanes - 1) / kLanes * kLanes;
  weights_.assign(padded, kMinusInfinity);
  for (size_t i = 0; i < kept_.size(); ++i) weights_[i] = kept_[i].logit;
  run_on<Weigh>(isa_, weights_.data(), static_cast<int64_t>(padded), temperature, highest);
}

Candidate Candidates::cut_top_k(int32_t k) {
  if (k == 0 || static_cast<size_t>(k) >= kept_.size())
    return {kMinusInfinity, std::numeric_limits<int32_t>::max()};
  order_.resize(kept_.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  const auto kth = order_.begin() + (k - 1);
  std::nth_element(order_.begin(), kth, order_.end(),
                   [&](size_t a, size_t b) { return kept_[a] < kept_[b]; });
  return kept_[*kth];
}

// Halves the range that holds the end of the prefix: the better half's weight says in which half it lies.
Candidate Candidates::cut_top_p(float top_p, const Candidate& last, double sum) {
  if (top_p >= 1.0F) return last;
  order_.clear();
  double kept_sum = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (last < kept_[i]) continue;
    order_.push_back(i);
    kept_sum += static_cast<double>(weights_[i]);
  }
  if (sum == 0) sum = kept_sum;
  const auto before = [&](size_t a, size_t b) { return kept_[a] < kept_[b]; };
  const double enough = static_cast<double>(top_p) * sum;
  double reached = 0;
  auto begin = order_.begin();
  auto end = order_.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, before);
    double better = 0;
    for (auto i = begin; i != middle; ++i) better += static_cast<double>(weights_[*i]);
    if (reached + better >= enough) {
      end = middle;
    } else {
      reached += better;
      begin = middle;
    }
  }
  return kept_[*begin];
}

int32_t Candidates::draw(const SampleRow& row, const float* logits, int64_t n, float highest) {
  const bool limited = row.top_k > 0 && row.top_k < n;
  float floor = kMinusInfinity;
  double all = 0;  // the weights' sum where more than what is gathered counts for top_p
  if (limited) {
    floor = kth_highest(logits, n, row.top_k);
  } else if (row.top_p < 1.0F) {
    floor = top_p_floor(row, logits, n, highest, all);
  }
  gather(logits, n, floor);
  weigh(row.temperature, highest);
  const Candidate last = cut_top_p(row.top_p, cut_top_k(limited ? row.top_k : 0), all);
  double sum = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (last < kept_[i] || weights_[i] < row.min_p) weights_[i] = 0;
    sum += static_cast<double>(weights_[i]);
  }
  const double target = static_cast<double>(sampling_uniform(row.seed, row.choice, row.position)) * sum;
  double running = 0;
  int32_t id = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (weights_[i] == 0) continue;
    id = kept_[i].id;
    running += static_cast<double>(weights_[i]);
    if (running > target) break;
  }
  return id;
}

}  // namespace batchmax::kernels::cpu
