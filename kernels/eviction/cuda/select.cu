// One thread block per (layer, row, KV head): scores, their order as 32-bit words, the cut by radix selection
// (radix.h), then the slots in ascending order. Nothing is sorted. With scores of keys and scope head the
// block scores as well (key_scores.h): the keys are read twice, all else is a word per candidate.
#include "kernels/core/cuda/check.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/cuda/key_scores.h"
#include "kernels/eviction/cuda/plain_scores.h"
#include "kernels/eviction/cuda/radix.h"
#include "kernels/eviction/cuda/words.h"
#include "kernels/eviction/order.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr uint32_t kProtected = kNone;  // no order_key: +inf maps to 0xff800000, NaN to 0

struct Args {
  CandidateArgs candidates;
  const float* layer_scores;  // [layers, rows, pitch]; nullptr: scope head
  Words words;
  int32_t* out;   // dest [N, Hkv] or queues [sequences, L, Hkv, decode_block]
  int32_t depth;  // decode_block

  __device__ const Row& row() const { return candidates.rows[blockIdx.y]; }
  __device__ int32_t head() const { return static_cast<int32_t>(blockIdx.x); }
  __device__ int32_t layer() const { return candidates.layer_begin + static_cast<int32_t>(blockIdx.z); }
  __device__ int64_t pair() const { return static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y; }
};

struct Shared {
  MeanShared mean;
  RadixShared radix;
};

// words[i] = what the cut is looked for in: kProtected or the score's order.
__device__ uint32_t order_word(const Row& row, int32_t position, float score) {
  return is_protected(row, position) ? kProtected : order_key(score);
}

// Scores that read no key, and scope layer.
struct PlainOrder {
  __device__ static void run(const Args& args, const HeadCandidates& candidates, const Row& row,
                             uint32_t* words, Shared&) {
    const float* given =
        args.layer_scores == nullptr ? nullptr : args.layer_scores + args.pair() * args.words.pitch;
    const bool averaged = needs_mass(args.candidates.score);
    const int32_t now = last_position(row);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < candidates.count(); i += kThreads) {
      const int32_t position = candidates.position(i);
      const float value = given != nullptr ? given[i]
                                           : plain_value(args.candidates, candidates, row, args.layer(),
                                                         args.head(), i, position);
      words[i] = order_word(row, position, averaged ? average_score(value, now - position) : value);
    }
  }
};

template <typename T, int Lanes>
struct KeyOrder {
  __device__ static void run(const Args& args, const HeadCandidates& candidates, const Row& row,
                             uint32_t* words, Shared& shared) {
    read_positions(candidates, words);
    const KeyScores<T, Lanes> scores(args.candidates, candidates, row, words, shared.mean);
    scores.each(args.candidates.score, [&](int32_t i, int32_t position, float score) {
      words[i] = order_word(row, position, score);
    });
  }
};

// Rises with age: of equal scores the lower one goes first.
__device__ uint32_t youth(int32_t position) { return static_cast<uint32_t>(INT32_MAX - position); }

// The victims of one head: words below `last`, and those equal to it whose youth is at most `last_youth`.
struct Victims {
  uint32_t last;
  uint32_t last_youth;

  __device__ bool has(uint32_t word, const HeadCandidates& candidates, int32_t i) const {
    if (word == kProtected || word > last) return false;
    return word < last || last_youth == kNone || youth(candidates.position(i)) <= last_youth;
  }
};

// `number` >= 1. Traps where fewer candidates are unprotected.
__device__ Victims choose(const HeadCandidates& candidates, const uint32_t* words, int32_t number,
                          RadixShared& shared) {
  const RadixCut cut = radix_cut(
      candidates.count(), [&](int32_t i) { return words[i]; }, number, shared);
  if (cut.taken == cut.equal) return {cut.last, kNone};
  __syncthreads();  // the histogram has been read
  const RadixCut ties = radix_cut(
      candidates.count(),
      [&](int32_t i) { return words[i] == cut.last ? youth(candidates.position(i)) : kNone; }, cut.taken,
      shared);
  return {cut.last, ties.last};
}

// Leaves the victims' slots below `end` in ascending order in words[0..]; returns their number.
__device__ int32_t list_vacant(const HeadCandidates& candidates, const Victims& victims, int32_t end,
                               uint32_t* words, RadixShared& shared) {
  int32_t listed = 0;
  for (int32_t begin = 0; begin < end; begin += kThreads) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const bool vacant = i < end && victims.has(words[i], candidates, i);
    int32_t total;
    const int32_t before = count_before(vacant, total, shared);
    // The list ends before what is still to be read: it grows by no more than what has been.
    if (vacant) words[listed + before] = static_cast<uint32_t>(i);
    listed += total;
  }
  __syncthreads();
  return listed;
}

// Grid: heads, rows, 1.
template <typename Order>
__global__ void __launch_bounds__(kThreads, 3) keep_kernel(const Args args) {
  extern __shared__ uint32_t shared_words[];
  __shared__ Shared shared;
  const Row& row = args.row();
  if (row.sequence == kNoSequence) return;
  const HeadCandidates candidates(args.candidates, args.layer(), row, args.head());
  const bool tail = args.candidates.pool == Pool::tail;
  const int32_t first_new = tail ? row.keep : row.resident;
  const int32_t count = candidates.count();
  const int32_t number = count - row.keep;
  if (tail && number <= 0) return;
  const int32_t heads = args.candidates.kv.kv_heads;
  const int32_t first_entry =
      tail ? tail_entry(args.candidates.rows, static_cast<int32_t>(blockIdx.y)) : row.token_begin;
  int32_t* dest = args.out + static_cast<int64_t>(first_entry) * heads + args.head();
  if (number <= 0) {
    for (int32_t i = first_new + static_cast<int32_t>(threadIdx.x); i < count; i += kThreads)
      dest[static_cast<int64_t>(i - first_new) * heads] = i;
    return;
  }
  uint32_t* words = args.words.of(args.pair() * heads + args.head(), shared_words);
  Order::run(args, candidates, row, words, shared);
  __syncthreads();
  const Victims victims = choose(candidates, words, number, shared.radix);
  const int32_t vacant = list_vacant(candidates, victims, first_new, words, shared.radix);
  int32_t placed = 0;
  for (int32_t begin = first_new; begin < count; begin += kThreads) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const bool stays = i < count && !victims.has(words[i], candidates, i);
    int32_t total;
    const int32_t order = placed + count_before(stays, total, shared.radix);
    placed += total;
    if (i >= count) continue;
    int32_t to = -1;
    if (stays) to = order < vacant ? static_cast<int32_t>(words[order]) : first_new + order - vacant;
    device_check(to < row.keep);
    dest[static_cast<int64_t>(i - first_new) * heads] = to;
  }
}

// Grid: heads, rows, layers. Dynamic shared memory: the words, where they fit, and decode_block slots.
template <typename Order>
__global__ void __launch_bounds__(kThreads, 3) victims_kernel(const Args args) {
  extern __shared__ uint32_t shared_words[];
  __shared__ Shared shared;
  __shared__ int32_t listed;
  const Row& row = args.row();
  if (row.sequence == kNoSequence || row.victims == 0) return;
  const HeadCandidates candidates(args.candidates, args.layer(), row, args.head());
  const int32_t heads = args.candidates.kv.kv_heads;
  uint32_t* words = args.words.of(args.pair() * heads + args.head(), shared_words + args.depth);
  Order::run(args, candidates, row, words, shared);
  if (threadIdx.x == 0) listed = 0;
  __syncthreads();
  const Victims victims = choose(candidates, words, row.victims, shared.radix);
  auto* list = reinterpret_cast<int32_t*>(shared_words);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < candidates.count(); i += kThreads) {
    if (victims.has(words[i], candidates, i)) list[atomicAdd(&listed, 1)] = i;
  }
  __syncthreads();
  device_check(listed == row.victims);
  // The list came in any order: each victim's place is the number of those that go before it.
  int32_t* queue =
      args.out + ((static_cast<int64_t>(row.sequence) * args.candidates.kv.layers + args.layer()) * heads +
                  args.head()) *
                     args.depth;
  for (int32_t v = static_cast<int32_t>(threadIdx.x); v < row.victims; v += kThreads) {
    const int32_t slot = list[v];
    int32_t before = 0;
    for (int32_t other = 0; other < row.victims; ++other) {
      const uint32_t word = words[list[other]];
      if (word < words[slot]) ++before;
      if (word == words[slot] && candidates.position(list[other]) > candidates.position(slot)) ++before;
    }
    queue[before] = slot;
  }
}

Args args_of(const Selection& selection, const Tensor& out) {
  return {CandidateArgs(selection.candidates),
          selection.layer_scores ? selection.layer_scores.as<float>() : nullptr,
          Words(selection.workspace, selection.pitch), out.as<int32_t>(), 0};
}

// launch(Order{}) with what fits the score, the scope and the cache.
template <typename Launch>
void with_order(const Selection& selection, Launch launch) {
  if (selection.layer_scores || !reads_keys(selection.candidates.score)) return launch(PlainOrder{});
  on_key_shape(selection.candidates.kv,
               [&](auto zero, auto lanes) { launch(KeyOrder<decltype(zero), decltype(lanes)::value>{}); });
}

}  // namespace

void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest) {
  const Args args = args_of(selection, dest);
  const Candidates& of = selection.candidates;
  if (of.rows.count == 0) return;
  const dim3 grid(static_cast<unsigned>(of.kv.kv_heads), static_cast<unsigned>(of.rows.count),
                  static_cast<unsigned>(of.layer_count));
  const cudaStream_t queue = stream_of(stream);
  with_order(selection, [&](auto order) {
    keep_kernel<decltype(order)><<<grid, kThreads, args.words.shared_bytes(), queue>>>(args);
  });
  check_launch("select_keep");
}

void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues) {
  Args args = args_of(selection, queues);
  args.depth = static_cast<int32_t>(queues.dim(3));
  const Candidates& of = selection.candidates;
  if (of.rows.count == 0) return;
  const dim3 grid(static_cast<unsigned>(of.kv.kv_heads), static_cast<unsigned>(of.rows.count),
                  static_cast<unsigned>(of.layer_count));
  const size_t list_bytes = static_cast<size_t>(args.depth) * sizeof(int32_t);
  const cudaStream_t queue = stream_of(stream);
  with_order(selection, [&](auto order) {
    victims_kernel<decltype(order)><<<grid, kThreads, args.words.shared_bytes() + list_bytes, queue>>>(args);
  });
  check_launch("select_victims");
}

}  // namespace batchmax::kernels::cuda
