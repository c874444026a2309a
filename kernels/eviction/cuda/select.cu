// Per (layer, row, KV head): scores, their order as 32-bit words, the cut by radix selection (radix.h), then
// the slots in ascending order. Nothing is sorted. A thread block does that. With scores of keys and scope
// head it scores as well (key_scores.h); all else is a word per candidate. Where heads are too few to fill
// the device, a cluster of blocks scores each, and the first goes on by itself while the others make room.
#include <algorithm>

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
  int32_t held_rounds;        // of keys, in shared memory
  const float* layer_scores;  // [layers, rows, pitch]; nullptr: scope head
  Words words;
  int32_t* out;   // dest [N, Hkv] or queues [sequences, L, Hkv, decode_block]
  int32_t depth;  // decode_block

  __device__ const Row& row() const { return candidates.rows[blockIdx.y]; }
  __device__ int32_t layer() const { return candidates.layer_begin + static_cast<int32_t>(blockIdx.z); }
  __device__ int64_t pair() const { return static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y; }
};

// words[i] = what the cut is looked for in: kProtected or the score's order.
__device__ uint32_t order_word(const Row& row, int32_t position, float score) {
  return is_protected(row, position) ? kProtected : order_key(score);
}

// An Order fills words[0..count) of one (row, head) and returns whether this block is the one to go on: there
// the words are complete, for all threads.

// Scores that read no key, and scope layer.
struct PlainOrder {
  static constexpr int kBlocks = 1;
  static constexpr int kBlocksAtOnce = 6;  // on a multiprocessor
  static constexpr size_t kRoundBytes = 0;
  struct Shared {};

  __device__ static bool run(const Args& args, const HeadCandidates& candidates, const Row& row, int32_t head,
                             uint32_t* words, void*, Shared&) {
    const float* given =
        args.layer_scores == nullptr ? nullptr : args.layer_scores + args.pair() * args.words.pitch;
    const bool averaged = needs_mass(args.candidates.score);
    const int32_t now = last_position(row);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < candidates.count(); i += kThreads) {
      const int32_t position = candidates.position(i);
      const float value =
          given != nullptr ? given[i]
                           : plain_value(args.candidates, candidates, row, args.layer(), head, i, position);
      words[i] = order_word(row, position, averaged ? average_score(value, now - position) : value);
    }
    __syncthreads();
    return true;
  }
};

template <typename Shape, int kClusterBlocks>
struct KeyOrder {
  static constexpr int kCluster = kClusterBlocks;
  static constexpr int kBlocks = blocks_here(kClusterBlocks);
  // One computes while another waits; a wide share of a key takes the registers of a third.
  static constexpr int kBlocksAtOnce = kClusterBlocks == 1 && Shape::N <= 8 ? 3 : 2;
  static constexpr int kRoundKeys = Shape::kGroups;
  static constexpr size_t kRoundBytes = Shape::kRoundBytes;
  using Scores = KeyScores<Shape, kBlocks>;
  using Shared = typename Scores::Shared;

  __device__ static bool run(const Args& args, const HeadCandidates& candidates, const Row& row, int32_t,
                             uint32_t* words, void* held, Shared& shared) {
    using Peers = Cluster<kBlocks>;
    Peers::start();
    const Scores scores(args.candidates, candidates, row, held, args.held_rounds, shared);
    uint32_t* first_blocks = args.words.in_shared() ? Peers::at(words, 0) : words;
    scores.each(args.candidates.score, [&](int32_t i, int32_t position, float score) {
      first_blocks[i] = order_word(row, position, score);
    });
    Peers::arrive();
    if (Peers::rank() != 0) return false;
    Peers::wait();
    return true;
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
  __syncthreads();  // histograms and ranges have been read
  clear_histograms(shared);
  const RadixCut ties = radix_cut(
      candidates.count(),
      [&](int32_t i) { return words[i] == cut.last ? youth(candidates.position(i)) : kNone; }, cut.taken,
      shared);
  return {cut.last, ties.last};
}

// Calls place(i, order) for each i of [begin, end) with has(i), where `order` of them lie before it; returns
// how many there are. has(i) is called once, and for all i of a tile before the first place() of it.
template <typename Has, typename Place>
__device__ int32_t place_in_order(int32_t begin, int32_t end, RadixShared& shared, Has has, Place place) {
  constexpr int32_t kTile = kThreads * 32;  // a bit of `flags` for each candidate of a thread
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  int32_t placed = 0;
  for (int32_t tile = begin; tile < end; tile += kTile) {
    // A warp has neighbours, 32 at a time.
    const int32_t each = (min(kTile, end - tile) + kThreads - 1) / kThreads;
    const int32_t own = tile + warp * each * 32 + lane;
    uint32_t flags = 0;
    int32_t count = 0;
    for (int32_t r = 0; r < each; ++r) {
      const int32_t i = own + r * 32;
      const bool flag = i < end && has(i);
      flags |= static_cast<uint32_t>(flag) << r;
      count += __popc(__ballot_sync(0xffffffffU, flag));
    }
    int32_t total;
    int32_t order = placed + count_before_warp(count, total, shared);
    for (int32_t r = 0; r < each; ++r) {
      const bool flag = (flags >> r & 1) != 0;
      const unsigned all = __ballot_sync(0xffffffffU, flag);
      if (flag) place(own + r * 32, order + __popc(all & ((1U << lane) - 1)));
      order += __popc(all);
    }
    placed += total;
    __syncthreads();
  }
  return placed;
}

// Where a block has what, in dynamic shared memory: keys that are held, decode_block slots, words.
template <typename Order>
struct Layout {
  void* held;
  int32_t* list;
  uint32_t* words;

  __device__ Layout(const Args& args, int64_t head, void* dynamic) : held(dynamic) {
    list = reinterpret_cast<int32_t*>(static_cast<char*>(dynamic) + args.held_rounds * Order::kRoundBytes);
    words = args.words.of(head, reinterpret_cast<uint32_t*>(list + args.depth));
  }
};

// Grid: blocks of all heads, rows, 1.
template <typename Order>
__global__ void __launch_bounds__(kThreads, Order::kBlocksAtOnce) keep_kernel(const Args args) {
  extern __shared__ uint4 dynamic[];
  __shared__ typename Order::Shared order_shared;
  __shared__ RadixShared shared;
  const Row& row = args.row();
  if (row.sequence == kNoSequence) return;
  const auto head = static_cast<int32_t>(blockIdx.x / Order::kBlocks);
  const HeadCandidates candidates(args.candidates, args.layer(), row, head);
  const bool tail = args.candidates.pool == Pool::tail;
  const int32_t first_new = tail ? row.keep : row.resident;
  const int32_t count = candidates.count();
  const int32_t number = count - row.keep;
  if (tail && number <= 0) return;
  const int32_t heads = args.candidates.kv.kv_heads;
  const int32_t first_entry =
      tail ? tail_entry(args.candidates.rows, static_cast<int32_t>(blockIdx.y)) : row.token_begin;
  int32_t* dest = args.out + static_cast<int64_t>(first_entry) * heads + head;
  if (number <= 0) {
    if (Cluster<Order::kBlocks>::rank() != 0) return;
    for (int32_t i = first_new + static_cast<int32_t>(threadIdx.x); i < count; i += kThreads)
      dest[static_cast<int64_t>(i - first_new) * heads] = i;
    return;
  }
  const Layout<Order> layout(args, args.pair() * heads + head, dynamic);
  uint32_t* words = layout.words;
  clear_histograms(shared);
  if (!Order::run(args, candidates, row, head, words, layout.held, order_shared)) return;
  const Victims victims = choose(candidates, words, number, shared);
  // The list of vacant slots lies where words were: it grows by no more than what has been read.
  const int32_t vacant = place_in_order(
      0, first_new, shared, [&](int32_t i) { return victims.has(words[i], candidates, i); },
      [&](int32_t i, int32_t order) { words[order] = static_cast<uint32_t>(i); });
  place_in_order(
      first_new, count, shared,
      [&](int32_t i) {
        const bool stays = !victims.has(words[i], candidates, i);
        if (!stays) dest[static_cast<int64_t>(i - first_new) * heads] = -1;
        return stays;
      },
      [&](int32_t i, int32_t order) {
        const int32_t to = order < vacant ? static_cast<int32_t>(words[order]) : first_new + order - vacant;
        device_check(to < row.keep);
        dest[static_cast<int64_t>(i - first_new) * heads] = to;
      });
}

// Grid: blocks of all heads, rows, layers.
template <typename Order>
__global__ void __launch_bounds__(kThreads, Order::kBlocksAtOnce) victims_kernel(const Args args) {
  extern __shared__ uint4 dynamic[];
  __shared__ typename Order::Shared order_shared;
  __shared__ RadixShared shared;
  __shared__ int32_t listed;
  const Row& row = args.row();
  if (row.sequence == kNoSequence || row.victims == 0) return;
  const auto head = static_cast<int32_t>(blockIdx.x / Order::kBlocks);
  const HeadCandidates candidates(args.candidates, args.layer(), row, head);
  const int32_t heads = args.candidates.kv.kv_heads;
  const Layout<Order> layout(args, args.pair() * heads + head, dynamic);
  uint32_t* words = layout.words;
  clear_histograms(shared);
  if (!Order::run(args, candidates, row, head, words, layout.held, order_shared)) return;
  if (threadIdx.x == 0) listed = 0;
  __syncthreads();
  const Victims victims = choose(candidates, words, row.victims, shared);
  int32_t* list = layout.list;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < candidates.count(); i += kThreads) {
    if (victims.has(words[i], candidates, i)) list[atomicAdd(&listed, 1)] = i;
  }
  __syncthreads();
  device_check(listed == row.victims);
  // The list came in any order: each victim's place is the number of those that go before it.
  int32_t* queue =
      args.out +
      ((static_cast<int64_t>(row.sequence) * args.candidates.kv.layers + args.layer()) * heads + head) *
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
          0,
          selection.layer_scores ? selection.layer_scores.as<float>() : nullptr,
          Words(selection.workspace, selection.pitch),
          out.as<int32_t>(),
          0};
}

// Whether there are as many heads as blocks that a device runs at once.
bool heads_fill(const Candidates& of, int device) {
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  return int64_t{of.rows.count} * of.kv.kv_heads * of.layer_count >= 2 * int64_t{multiprocessors};
}

// work(Order{}) with what fits the score, the scope, the cache and the number of heads.
template <typename Work>
void with_order(const Selection& selection, int device, Work work) {
  const Candidates& of = selection.candidates;
  if (selection.layer_scores || !reads_keys(of.score)) return work(PlainOrder{});
  on_key_shape(of.kv, [&](auto shape) {
    using Shape = decltype(shape);
    heads_fill(of, device) ? work(KeyOrder<Shape, 1>{}) : work(KeyOrder<Shape, kMostClusterBlocks>{});
  });
}

// How a kernel is launched for its head's blocks, and what they hold.
struct Geometry {
  int blocks = 1;  // of a head
  int32_t held_rounds = 0;
  size_t shared_bytes;
};

// Keys are held as far as Order::kBlocksAtOnce fit on a multiprocessor.
template <typename Order>
Geometry geometry_of(void (*kernel)(Args), const Args& args, int device) {
  Geometry geometry;
  geometry.shared_bytes = args.words.shared_bytes() + static_cast<size_t>(args.depth) * sizeof(int32_t);
  if constexpr (Order::kRoundBytes > 0) {
    cudaFuncAttributes code;
    check(cudaFuncGetAttributes(&code, kernel), "cudaFuncGetAttributes");
    geometry.blocks = blocks_loaded(code, Order::kCluster);
    int most = 0;
    int reserved = 0;
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
          "cudaDeviceGetAttribute");
    check(cudaDeviceGetAttribute(&reserved, cudaDevAttrReservedSharedMemoryPerBlock, device),
          "cudaDeviceGetAttribute");
    const int64_t left = most / Order::kBlocksAtOnce - reserved -
                         static_cast<int64_t>(code.sharedSizeBytes + geometry.shared_bytes);
    const int64_t run = ceil_div(args.words.pitch, geometry.blocks);
    const int64_t rounds = std::min(ceil_div(run, Order::kRoundKeys),
                                    std::max<int64_t>(left, 0) / static_cast<int64_t>(Order::kRoundBytes));
    geometry.held_rounds = static_cast<int32_t>(rounds);
    geometry.shared_bytes += static_cast<size_t>(rounds) * Order::kRoundBytes;
  }
  return geometry;
}

template <typename Order>
void launch(const Stream& stream, void (*kernel)(Args), Args args, const Candidates& of) {
  const cudaStream_t queue = stream_of(stream);
  const Geometry geometry = geometry_of<Order>(kernel, args, stream.device());
  args.held_rounds = geometry.held_rounds;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(geometry.shared_bytes)),
        "cudaFuncSetAttribute");
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(geometry.blocks), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(of.kv.kv_heads * geometry.blocks),
                        static_cast<unsigned>(of.rows.count), static_cast<unsigned>(of.layer_count));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = geometry.shared_bytes;
  config.stream = queue;
  config.attrs = &cluster;
  config.numAttrs = geometry.blocks > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, args), "cudaLaunchKernelEx");
}

}  // namespace

void select_keep(const Stream& stream, const Selection& selection, const Tensor& dest) {
  const Candidates& of = selection.candidates;
  if (of.rows.count == 0) return;
  with_order(selection, stream.device(), [&](auto order) {
    using Order = decltype(order);
    launch<Order>(stream, keep_kernel<Order>, args_of(selection, dest), of);
  });
}

void select_victims(const Stream& stream, const Selection& selection, const Tensor& queues) {
  const Candidates& of = selection.candidates;
  if (of.rows.count == 0) return;
  Args args = args_of(selection, queues);
  args.depth = static_cast<int32_t>(queues.dim(3));
  with_order(selection, stream.device(), [&](auto order) {
    using Order = decltype(order);
    launch<Order>(stream, victims_kernel<Order>, args, of);
  });
}

}  // namespace batchmax::kernels::cuda
