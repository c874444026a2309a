// Prefill attention on Hopper's warpgroup products (sm_90a), bf16; the formula is in prefill_mma.cu.
//
// One thread block of three warpgroups on each multiprocessor works off (row, KV head, 128 queries), one
// after the other. The first warpgroup copies (prefill_copies.h): queries and tiles of 128 keys, K and V
// apart (three stages each), also those of the next item while the others finish the last. Each of the other
// two has 64 queries, its scores, probabilities and outputs in registers: while the tensor cores multiply
// tile t's keys and tile t - 1's values, one warpgroup's exponentials hide behind the other's products: they
// take turns. Half tiles of 64 keys (a page, or tokens of the staging buffers) are brought by the copy
// engine; those with fewer valid keys by threads, 16 bytes at a time with zeros behind the last key: what
// lies there may be NaN.
//
// The top that a query's weights refer to is the largest score of its first tile. Other tiles are weighed
// against it without a look at their maximum; only where weights come out beyond 2^64 the tile is multiplied
// and weighed again, against a new top.
#include <algorithm>

#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_copies.h"
#include "kernels/attention/cuda/tensor_map.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
// Of each thread: 24 · 128 + 240 · 256 = 40 · 128 + 232 · 256 = 64,512 of the multiprocessor's 65,536.
template <int D>
constexpr int kConsumerRegisters = D == 128 ? 240 : 232;
template <int D>
constexpr int kCopyRegisters = 504 - 2 * kConsumerRegisters<D>;
// Sum of a thread's weights of a query and tile above which the query's top is raised: sums of many tiles
// stay far from what fp32 can hold.
constexpr float kMostWeight = 0x1p64F;

// A warpgroup that multiplies: 64 queries.
template <int D>
class Consumer {
 public:
  __device__ explicit Consumer(const Shared<D>& shared)
      : shared_(shared),
        group_(static_cast<int>(threadIdx.x) / kGroupThreads - 1),
        thread_(static_cast<int>(threadIdx.x) % kGroupThreads),
        row_(group_ * kGroupQueries + thread_ / 32 * 16 + thread_ % 32 / 4) {
    if (group_ == 1) give_turn(0);
  }

  // The next item; false: there is none.
  __device__ bool attend(const PrefillArgs& args) {
    Item item;
    shared_.full(Shared<D>::kQ, 0).wait(items_++ % 2);
    item.load(shared_.item());
    if (item.tiles == 0) return false;
    load_queries();
    float s[kKeys / 2];
    uint32_t p[kKeys / 16][4];
    bool publish = has_part(item, 0);
    start_scores(publish, s);
    wait_for_products<0>();
    release(Shared<D>::kK, tile_);
    mask(args, item, 0, s);
    begin_rows(s, args.scale2);
    pack(s, p);
    for (int32_t t = 1; t < item.tiles; ++t) {
      ++tile_;
      const bool before = publish;
      publish = has_part(item, t);
      wait_for_turn(group_);
      start_scores(publish, s);
      start_values(tile_ - 1, before, p);
      give_turn(1 - group_);
      wait_for_products<1>();
      mask(args, item, t, s);
      float added[2];
      weigh(s, args.scale2, added);
      compute_before_waiting(added[0] + added[1]);
      wait_for_products<0>();
      release(Shared<D>::kV, tile_ - 1);
      // The products are the whole warpgroup's, and give each query the same scores as before.
      if (any_of_group(group_, !(fmaxf(added[0], added[1]) <= kMostWeight))) {
        start_scores(false, s);
        wait_for_products<0>();
        mask(args, item, t, s);
        raise_tops(s, args.scale2, added);
        weigh(s, args.scale2, added);
      }
      release(Shared<D>::kK, tile_);
#pragma unroll
      for (int r = 0; r < 2; ++r) sum_[r] += added[r];
      pack(s, p);
    }
    start_values(tile_, publish, p);
    wait_for_products<0>();
    release(Shared<D>::kV, tile_++);
    store(args, item);
    return true;
  }

 private:
  // Whether threads have copied some of the tile: a half of it has fewer than 64 keys.
  __device__ static bool has_part(const Item& item, int32_t tile) {
    const int32_t pages = item.pages();
    const auto keys_of = [&](int32_t half) {
      return half < pages ? item.resident - half * kTileKeys : item.token_count - (half - pages) * kTileKeys;
    };
    return min(keys_of(2 * tile), keys_of(2 * tile + 1)) < kTileKeys;
  }

  __device__ void start_scores(bool publish, float (&s)[kKeys / 2]) {
    const uint32_t stage = tile_ % kStages;
    wait_for(Shared<D>::kK, tile_, publish);
    begin_products();
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      product<false>(s, q_fragments_[step], ProductTile<D>::inner_columns(shared_.keys(stage), kKeys, step),
                     step > 0);
    }
    commit_products();
  }

  __device__ void start_values(uint32_t tile, bool publish, const uint32_t (&p)[kKeys / 16][4]) {
    const uint32_t stage = tile % kStages;
    wait_for(Shared<D>::kV, tile, publish);
    begin_products();
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      product<true>(out_, p[step], ProductTile<D>::inner_rows(shared_.values(stage), kKeys, step), true);
    }
    commit_products();
  }

  // The queries as A of the products; their shared memory is free for the next item's at once.
  __device__ void load_queries() {
    const int row = group_ * kGroupQueries + thread_ / 32 * 16 + thread_ % 16;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const int chunk = 2 * step + thread_ % 32 / 16;
      load_matrices(q_fragments_[step], shared_.queries() + ProductTile<D>::at(kQueries, row, chunk));
    }
    shared_.free(Shared<D>::kQ, 0).arrive();
  }

  // Until the copies are there, and visible to the products; what the copy engine has brought is.
  __device__ void wait_for(typename Shared<D>::Kind kind, uint32_t tile, bool publish) const {
    shared_.full(kind, tile % kStages).wait(tile / kStages % 2);
    if (publish) publish_to_products();
  }

  __device__ void release(typename Shared<D>::Kind kind, uint32_t tile) {
    __syncwarp();
    if (thread_ % 32 == 0) shared_.free(kind, tile % kStages).arrive();
  }

  // Keys that a query does not see get no weight: past a segment's end, or later than its own token.
  __device__ void mask(const PrefillArgs& args, const Item& item, int32_t tile, float (&s)[kKeys / 2]) const {
    const int32_t pages = item.pages();
    const int32_t first_token = (item.first + group_ * kGroupQueries) / args.group;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t index = 2 * tile + half;
      const int32_t left = item.resident - index * kTileKeys;  // resident keys from here on
      const int32_t first = (index - pages) * kTileKeys;       // of the block's tokens
      const bool resident = index < pages;
      if (resident ? left >= kTileKeys : first + kTileKeys - 1 <= first_token) continue;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t query = min(item.first + row_ + 8 * r, item.queries - 1);
        const int32_t visible = resident ? left : query / args.group - first + 1;
#pragma unroll
        for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            if (8 * j + thread_ % 4 * 2 + i >= visible)
              s[half * kTileKeys / 2 + 4 * j + 2 * r + i] = -INFINITY;
          }
        }
      }
    }
  }

  __device__ void begin_rows(float (&s)[kKeys / 2], float scale2) {
#pragma unroll
    for (int r = 0; r < 2; ++r) top_[r] = most_of(s, r);
#pragma unroll
    for (int i = 0; i < D / 2; ++i) out_[i] = 0;
    weigh(s, scale2, sum_);
  }

  __device__ static float most_of(const float (&s)[kKeys / 2], int r) {
    float most = -INFINITY;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) most = fmaxf(most, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0U, most, 1));
    return fmaxf(most, __shfl_xor_sync(~0U, most, 2));
  }

  // Scores become weights against the top; `added` is what this thread's sum to.
  __device__ void weigh(float (&s)[kKeys / 2], float scale2, float (&added)[2]) const {
    const float offset[2] = {top_[0] * scale2, top_[1] * scale2};
    added[0] = added[1] = 0;
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      s[i] = exp2_fast(fmaf(s[i], scale2, -offset[i / 2 % 2]));
      added[i / 2 % 2] += s[i];
    }
  }

  // Of queries whose weights were too large: the top becomes the largest of these scores, and what was summed
  // before shrinks. The others' stay as they are, to the bit.
  __device__ void raise_tops(const float (&s)[kKeys / 2], float scale2, const float (&added)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      int over = !(added[r] <= kMostWeight);
      over |= __shfl_xor_sync(~0U, over, 1);
      over |= __shfl_xor_sync(~0U, over, 2);
      const float most = most_of(s, r);
      const float top = over != 0 ? fmaxf(top_[r], most) : top_[r];
      const float shrink = exp2_fast((top_[r] - top) * scale2);
      top_[r] = top;
      sum_[r] *= shrink;
#pragma unroll
      for (int i = 2 * r; i < D / 2; i += 4) {
        out_[i] *= shrink;
        out_[i + 1] *= shrink;
      }
    }
  }

  __device__ static void pack(const float (&s)[kKeys / 2], uint32_t (&p)[kKeys / 16][4]) {
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) p[step][i] = pack_bf16(s[8 * step + 2 * i], s[8 * step + 2 * i + 1]);
    }
  }

  __device__ void store(const PrefillArgs& args, const Item& item) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = sum_[r];
      total += __shfl_xor_sync(~0U, total, 1);
      total += __shfl_xor_sync(~0U, total, 2);
      const int32_t query = item.first + row_ + 8 * r;
      const int64_t heads = static_cast<int64_t>(args.kv.kv_heads) * args.group;
      const int64_t index =
          (item.token_begin + query / args.group) * heads + item.head * args.group + query % args.group;
      const float share = 1.0F / total;
      uint4* to = reinterpret_cast<uint4*>(static_cast<bf16*>(args.out) + index * D) + thread_ % 4;
#pragma unroll
      for (int j = 0; j < D / 8; j += 4) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = 4 * (j + i) + 2 * r;
          words[i] = pack_bf16(out_[at] * share, out_[at + 1] * share);
        }
        exchange_words(words, thread_);
        if (query < item.queries) to[j] = {words[0], words[1], words[2], words[3]};
      }
      if (thread_ % 4 == 0 && query < item.queries)
        args.lse[index] = kLn2 * fmaf(top_[r], args.scale2, log2f(total));
    }
  }

  const Shared<D>& shared_;
  int group_;
  int thread_;
  int row_;  // of the item's queries: this thread's first; the other is 8 further
  uint32_t items_ = 0;
  uint32_t tile_ = 0;
  uint32_t q_fragments_[D / 16][4];
  float out_[D / 2];
  float top_[2];  // of q·k
  float sum_[2];  // of this thread's keys
};

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_wgmma_kernel(const __grid_constant__ PrefillArgs args, const __grid_constant__ Maps maps,
                         int32_t items, int32_t query_blocks) {
  if constexpr (kHopper) {
    extern __shared__ std::byte memory[];
    const Shared<D> shared(memory);
    if (threadIdx.x == 0) shared.init_barriers();
    __syncthreads();
    if (threadIdx.x < kGroupThreads) {
      give_registers<kCopyRegisters<D>>();
      if (threadIdx.x < kKeyThreads) {
        KeyCopies<D> copies(shared, maps);
        for_each_item(args, items, query_blocks, [&](const Item& item) { copies.fetch(args, item); });
      } else {
        QueryCopies<D> copies(shared);
        for_each_item(args, items, query_blocks, [&](const Item& item) { copies.fetch(args, item); });
        copies.end();
      }
    } else {
      take_registers<kConsumerRegisters<D>>();
      Consumer<D> consumer(shared);
      while (consumer.attend(args)) {
      }
    }
  } else {
    __trap();  // the host chooses this kernel for sm_90a only
  }
}

template <int D>
void launch(cudaStream_t stream, const PrefillArgs& args, int64_t tokens, int32_t rows, int32_t queries,
            int multiprocessors) {
  const int32_t query_blocks = (queries + kQueries - 1) / kQueries;
  const int32_t items = rows * args.kv.kv_heads * query_blocks;
  const KvView& kv = args.kv;
  const int64_t pool_rows = static_cast<int64_t>(kv.layers) * kv.pages * kv.kv_heads * 2 * kPageSlots;
  const Maps maps{rows_of_heads(kv.kv, pool_rows, 1, D), rows_of_heads(args.k, tokens, kv.kv_heads, D),
                  rows_of_heads(args.v, tokens, kv.kv_heads, D)};
  // An even number of blocks, so that each has a neighbour to swap with.
  const int32_t blocks = std::min((items + 1) / 2 * 2, multiprocessors / 2 * 2);
  check(cudaFuncSetAttribute(prefill_wgmma_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shared<D>::kBytes),
        "cudaFuncSetAttribute");
  prefill_wgmma_kernel<D><<<static_cast<unsigned>(blocks), kThreads, Shared<D>::kBytes, stream>>>(
      args, maps, items, query_blocks);
  check_launch("prefill_attention");
}

}  // namespace

void prefill_attention_wgmma(cudaStream_t stream, const PrefillArgs& args, int64_t tokens, int32_t rows,
                             int32_t queries, int multiprocessors) {
  switch (args.kv.head_dim) {
    case 64:
      return launch<64>(stream, args, tokens, rows, queries, multiprocessors);
    case 96:
      return launch<96>(stream, args, tokens, rows, queries, multiprocessors);
    default:
      return launch<128>(stream, args, tokens, rows, queries, multiprocessors);
  }
}

}  // namespace batchmax::kernels::cuda
