// A block per row. Greedy: one pass over V floats. A plain temperature: one pass for the highest, one for the
// weights' sums, and one warp walks its 32nd of the row to the drawn id. top_k and top_p first look for a
// floor below which nothing is needed and gather what lies above; the last candidate that stays is then found
// by bisection over the keys of that list, or over the row again in the rare case that the list is too short.
#include "kernels/core/cuda/check.h"
#include "kernels/sampling/backends.h"
#include "kernels/sampling/cuda/row.h"

namespace batchmax::kernels::cuda {
namespace {

// Candidates in shared memory: 96 KB, two blocks on a Hopper multiprocessor.
constexpr int kListed = 12 * 1024;

// Ranges of logits below the highest: 64 to a factor of e in weight, the last takes all below e^−32.
constexpr int kBins = 2048;
constexpr float kBinsPerUnit = 64.0F * 0.6931471805599453F;  // Weights::scale counts factors of two

struct Shared {
  uint64_t partial[kSampleWarps];
  uint64_t before;  // weight of the bins above the one that a cut falls in
  int bin;
  int listed;
  int drawn;
};

// Where the cuts are looked for: the list, or the whole row.
struct Candidates {
  LogitRow row;
  const uint64_t* list;
  int listed;  // more than the list holds: the row

  template <typename Visit>
  __device__ void each(Visit visit) const {
    if (listed > kListed) {
      row.each([&](float logit, int id) { visit(key_of(logit, id)); });
    } else {
      for (int i = static_cast<int>(threadIdx.x); i < listed; i += kSampleThreads) visit(list[i]);
    }
  }
};

// measure(key) of one candidate.
struct Counted {
  __device__ uint64_t operator()(uint64_t) const { return 1; }
};
struct Weighed {
  Weights weights;
  __device__ uint64_t operator()(uint64_t key) const { return units(weights.of(logit_of(key))); }
};

template <typename Measure>
__device__ uint64_t sum_from(const Candidates& candidates, uint64_t cut, Measure measure, Shared& shared) {
  uint64_t sum = 0;
  candidates.each([&](uint64_t key) {
    if (key >= cut && key != 0) sum += measure(key);
  });
  return over_block<Sum>(sum, shared.partial);
}

// The key of the last candidate of the shortest prefix of the order that measures at least `enough`; `lowest`
// where no prefix does.
template <typename Measure>
__device__ uint64_t find_cut(const Candidates& candidates, uint64_t lowest, uint64_t highest, uint64_t enough,
                             Measure measure, Shared& shared) {
  while (lowest < highest) {
    const uint64_t middle = lowest + (highest - lowest + 1) / 2;
    if (sum_from(candidates, middle, measure, shared) >= enough) {
      lowest = middle;
    } else {
      highest = middle - 1;
    }
  }
  return lowest;
}

// A key that at least k candidates reach: the k-th highest of the threads' own highest keys. 0 where k
// threads have none.
__device__ uint64_t top_k_floor(uint64_t own_highest, uint64_t highest, int k) {
  if (k > kSampleThreads) return 0;
  uint64_t lowest = 0;
  while (lowest < highest) {
    const uint64_t middle = lowest + (highest - lowest + 1) / 2;
    if (__syncthreads_count(own_highest >= middle ? 1 : 0) >= k) {
      lowest = middle;
    } else {
      highest = middle - 1;
    }
  }
  return lowest;
}

// Candidates that `keeps`, in no order.
template <typename Keeps>
__device__ Candidates gather(const LogitRow& row, uint64_t* list, Shared& shared, Keeps keeps) {
  if (threadIdx.x == 0) shared.listed = 0;
  __syncthreads();
  row.each([&](float logit, int id) {
    const uint64_t key = key_of(logit, id);
    if (key == 0 || !keeps(logit, key)) return;
    const int at = atomicAdd(&shared.listed, 1);
    if (at < kListed) list[at] = key;
  });
  __syncthreads();
  return {row, list, shared.listed};
}

// Never decreases from a logit to a lower one.
__device__ inline int bin_of(const Weights& weights, float logit) {
  if (logit == weights.highest) return 0;
  const float at = (weights.highest - logit) * (weights.scale * kBinsPerUnit);
  return at < kBins - 1 ? static_cast<int>(at) : kBins - 1;
}

// Sums of weights in 64 bits by additions of 32: shared memory has no wider ones.
struct Bins {
  uint32_t low[kBins];
  uint32_t high[kBins];

  __device__ void add(int bin, uint64_t amount) {
    const auto part = static_cast<uint32_t>(amount);
    const uint32_t carry = atomicAdd(&low[bin], part) > 0xffffffffU - part ? 1 : 0;
    const uint32_t rest = static_cast<uint32_t>(amount >> 32) + carry;
    if (rest != 0) atomicAdd(&high[bin], rest);
  }
  __device__ uint64_t at(int bin) const { return static_cast<uint64_t>(high[bin]) << 32 | low[bin]; }
};

// Sum over this thread and those before it; `all`: over the block.
__device__ uint64_t scan_block(uint64_t value, uint64_t& all, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t left = __shfl_up_sync(0xffffffffU, value, offset);
    if (lane >= offset) value += left;
  }
  __syncthreads();
  if (lane == 31) shared.partial[threadIdx.x / 32] = value;
  __syncthreads();
  all = 0;
  for (int w = 0; w < kSampleWarps; ++w) {
    if (w == static_cast<int>(threadIdx.x) / 32) value += all;
    all += shared.partial[w];
  }
  return value;
}

__device__ inline uint64_t share_of(float top_p, uint64_t sum) {
  return static_cast<uint64_t>(ceil(static_cast<double>(top_p) * static_cast<double>(sum)));
}

// The cut of top_p over the whole row. `list` holds the bins first, then the candidates of one of them.
__device__ uint64_t top_p_cut(float top_p, const LogitRow& row, const Weights& weights, uint64_t highest,
                              uint64_t* list, Shared& shared) {
  constexpr int kEach = kBins / kSampleThreads;
  auto& bins = *reinterpret_cast<Bins*>(list);
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kSampleThreads) bins.low[i] = bins.high[i] = 0;
  __syncthreads();
  row.each([&](float logit, int) {
    if (logit > -INFINITY) bins.add(bin_of(weights, logit), units(weights.of(logit)));
  });
  __syncthreads();
  const int first = static_cast<int>(threadIdx.x) * kEach;
  uint64_t own = 0, sum = 0;
  for (int i = 0; i < kEach; ++i) own += bins.at(first + i);
  uint64_t reached = scan_block(own, sum, shared) - own;
  const uint64_t enough = share_of(top_p, sum);
  for (int i = 0; i < kEach; ++i) {
    const uint64_t before = reached;
    reached += bins.at(first + i);
    if (before < enough && enough <= reached) {  // one thread, one bin
      shared.bin = first + i;
      shared.before = before;
    }
  }
  __syncthreads();
  const int bin = shared.bin;
  const uint64_t before = shared.before;
  const Candidates candidates =
      gather(row, list, shared, [&](float logit, uint64_t) { return bin_of(weights, logit) == bin; });
  const bool whole_row = candidates.listed > kListed;
  return find_cut(candidates, 0, highest, whole_row ? enough : enough - before, Weighed{weights}, shared);
}

// The key of the last candidate that top_k and top_p leave.
__device__ uint64_t last_kept(const SampleRow& sample, const LogitRow& row, const Weights& weights,
                              uint64_t own_highest, uint64_t highest, uint64_t* list, Shared& shared) {
  const bool by_weight = sample.top_p < 1.0F;
  if (sample.top_k == 0 || sample.top_k >= row.count)
    return by_weight ? top_p_cut(sample.top_p, row, weights, highest, list, shared) : 0;
  const uint64_t floor = top_k_floor(own_highest, highest, sample.top_k);
  const Candidates candidates = gather(row, list, shared, [&](float, uint64_t key) { return key >= floor; });
  const uint64_t cut =
      find_cut(candidates, floor, highest, static_cast<uint64_t>(sample.top_k), Counted{}, shared);
  if (!by_weight) return cut;
  const Weighed weighed{weights};
  const uint64_t sum = sum_from(candidates, cut, weighed, shared);
  return find_cut(candidates, cut, highest, share_of(sample.top_p, sum), weighed, shared);
}

// Walks the survivors by id to the first whose running sum exceeds uniform · sum. Warp w holds the ids of the
// w-th 32nd of the row; the one that the target falls to walks its part.
__device__ int draw(const SampleRow& sample, const LogitRow& row, const Weights& weights, uint64_t cut,
                    Shared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int kTile = 32 * 4;
  const int part = (row.count + kSampleWarps * kTile - 1) / (kSampleWarps * kTile) * kTile;
  const int begin = warp * part;
  const int end = min(begin + part, row.count);
  const auto load_units = [&](int i, uint64_t(&to)[4]) {
    float logit[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (i < end) row.load(i, logit);
    uint64_t total = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint64_t key = key_of(logit[j], i + j);
      const float weight = key == 0 || key < cut ? 0.0F : weights.of(logit[j]);
      to[j] = weight < sample.min_p ? 0 : units(weight);
      total += to[j];
    }
    return total;
  };
  uint64_t unit[4];
  uint64_t own = 0;
#pragma unroll 4
  for (int i = begin + lane * 4; i < end; i += kTile) own += load_units(i, unit);
  own = over_warp<Sum>(own);
  __syncthreads();
  if (lane == 0) shared.partial[warp] = own;
  __syncthreads();
  uint64_t before = 0, sum = 0;
  for (int w = 0; w < kSampleWarps; ++w) {
    if (w == warp) before = sum;
    sum += shared.partial[w];
  }
  // uniform is a multiple of 2^−24: target = floor(uniform · sum), exactly, from the two halves of the
  // product.
  const auto steps =
      static_cast<uint64_t>(sampling_uniform(sample.seed, sample.choice, sample.position) * 0x1p24F);
  const uint64_t target = __umul64hi(sum, steps) << 40 | (sum * steps) >> 24;
  if (before <= target && target < before + own) {
    uint64_t running = before;
    for (int i = begin + lane * 4; i - lane * 4 < end; i += kTile) {
      uint64_t reached = load_units(i, unit);
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t left = __shfl_up_sync(0xffffffffU, reached, offset);
        if (lane >= offset) reached += left;
      }
      const unsigned over = __ballot_sync(0xffffffffU, running + reached > target);
      if (over != 0) {
        if (lane == __ffs(static_cast<int>(over)) - 1) {
          uint64_t at = running + reached - (unit[0] + unit[1] + unit[2] + unit[3]);
          int j = 0;
          while ((at += unit[j]) <= target) ++j;
          shared.drawn = i + j;
        }
        break;
      }
      running += __shfl_sync(0xffffffffU, reached, 31);
    }
  }
  __syncthreads();
  return shared.drawn;
}

__device__ int sample_row(const SampleRow& sample, const LogitRow& row, uint64_t* list, Shared& shared) {
  uint64_t own_highest = 0;
  row.each([&](float logit, int id) { own_highest = Most::of(own_highest, key_of(logit, id)); });
  const uint64_t highest = over_block<Most>(own_highest, shared.partial);
  if (highest == 0) return 0;
  if (sample.temperature == 0) return id_of(highest);
  const Weights weights(logit_of(highest), sample.temperature);
  const uint64_t cut = last_kept(sample, row, weights, own_highest, highest, list, shared);
  return draw(sample, row, weights, cut, shared);
}

__global__ void __launch_bounds__(kSampleThreads)
    sample_kernel(const float* logits, int vocabulary, const SampleRow* rows, int32_t* ids,
                  int32_t* last_token) {
  extern __shared__ uint64_t list[];
  __shared__ Shared shared;
  const SampleRow sample = rows[blockIdx.x];
  if (sample.sequence == kNoSequence) return;
  const LogitRow row{logits + static_cast<int64_t>(blockIdx.x) * vocabulary, vocabulary};
  const int id = sample_row(sample, row, list, shared);
  if (threadIdx.x != 0) return;
  ids[blockIdx.x] = id;
  last_token[sample.sequence] = id;
}

}  // namespace

void sample(const Stream& stream, const Tensor& logits, const SampleRow*, const SampleRow* rows_data,
            const Tensor& ids, const Tensor& last_token) {
  CHECK_LE(logits.dim(1), kMostIds);
  const auto rows = static_cast<unsigned>(logits.dim(0));
  if (rows == 0) return;
  constexpr int kListBytes = kListed * sizeof(uint64_t);
  const cudaStream_t queue = stream_of(stream);
  check(cudaFuncSetAttribute(sample_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kListBytes),
        "cudaFuncSetAttribute");
  sample_kernel<<<rows, kSampleThreads, kListBytes, queue>>>(logits.as<float>(),
                                                             static_cast<int>(logits.dim(1)), rows_data,
                                                             ids.as<int32_t>(), last_token.as<int32_t>());
  check_launch("sample");
}

}  // namespace batchmax::kernels::cuda
