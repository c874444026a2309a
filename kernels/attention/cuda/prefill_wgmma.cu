// Prefill attention on Hopper's warpgroup products (sm_90a), bf16; the formula is in prefill_mma.cu.
//
// One thread block of three warpgroups on each multiprocessor works off (row, KV head, 128 queries), one
// after the other. The first warpgroup copies: queries and tiles of 128 keys, K and V apart
// (three stages each), also those of the next item while the others finish the last. Each of the other two
// has 64 queries, its scores, probabilities and outputs in registers: while the tensor cores multiply tile
// t's keys and tile t - 1's values, one warpgroup's exponentials hide behind the other's products: they take
// turns. Half tiles of 64 keys (a page, or tokens of the staging buffers) are brought by the copy engine;
// those with fewer valid keys by threads, 16 bytes at a time with zeros behind the last key: what lies there
// may be NaN.
#include <algorithm>

#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_attention.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/attention/cuda/tensor_map.h"
#include "kernels/attention/cuda/wgmma.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

// Whether this pass of the compiler is for sm_90a: the instructions exist for no other device.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kHopper = true;
#else
constexpr bool kHopper = false;
#endif

constexpr int kGroupThreads = 128;
constexpr int kConsumers = 2;
constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kGroupQueries = 64;
constexpr int kQueries = kConsumers * kGroupQueries;
constexpr int kKeys = 2 * kTileKeys;  // of a tile of this kernel: two of PrefillKeys
constexpr int kStages = 3;
// Of each thread: 24 · 128 + 240 · 256 = 64,512 of the multiprocessor's 65,536.
constexpr int kProducerRegisters = 24;
constexpr int kConsumerRegisters = 240;

template <int D>
struct Shared {
  static constexpr uint32_t kQueryBytes = kQueries * D * 2;
  static constexpr uint32_t kTileBytes = kKeys * D * 2;
  static constexpr uint32_t kBarriers = 1024;  // room in front
  static constexpr uint32_t kBytes = kBarriers + kQueryBytes + 2 * kStages * kTileBytes + 1024;

  uint32_t base;  // 1024-byte aligned

  __device__ explicit Shared(const void* memory) : base((shared_address(memory) + 1023) & ~1023U) {}
  __device__ uint32_t queries() const { return base + kBarriers; }
  __device__ uint32_t keys(uint32_t stage) const { return queries() + kQueryBytes + 2 * stage * kTileBytes; }
  __device__ uint32_t values(uint32_t stage) const { return keys(stage) + kTileBytes; }
  // Three kinds of memory, kStages buffers of K and V and one of queries: full (all copying threads arrive),
  // free (each warp of the consumers arrives).
  enum Kind { kQ, kK, kV };
  __device__ SharedBarrier full(Kind kind, uint32_t buffer) const {
    return {base + 16 * (kStages * kind + buffer)};
  }
  __device__ SharedBarrier free(Kind kind, uint32_t buffer) const {
    return {base + 16 * (kStages * kind + buffer) + 8};
  }
};

// Where whole tiles of 64 keys are copied from.
struct Maps {
  CUtensorMap pool;  // rows: K and V of all pages in turn, one head
  CUtensorMap k;     // staging: tokens
  CUtensorMap v;
};

// What a thread block does in one round.
struct Item {
  Row row;
  int32_t head;
  int32_t first;  // query
  int32_t queries;
  int32_t tiles;  // of kKeys

  // Items are numbered query block first, so that the blocks of a head meet in the L2 cache. False: the row
  // has no such block.
  __device__ bool load(const PrefillArgs& args, int32_t index, int32_t query_blocks) {
    row = args.rows[index / query_blocks / args.kv.kv_heads];
    head = index / query_blocks % args.kv.kv_heads;
    first = index % query_blocks * kQueries;
    queries = row.token_count * args.group;
    if (first >= queries) return false;
    const int32_t last_token = (min(first + kQueries, queries) - 1) / args.group;
    const int32_t halves = (row.resident + kTileKeys - 1) / kTileKeys + last_token / kTileKeys + 1;
    tiles = (halves + 1) / 2;
    return true;
  }
};

// The item of a thread block's round: neighbours swap places every other round, so that each block gets first
// and last query blocks alike; the last ones see more keys.
__device__ int32_t item_index(int32_t round) {
  const auto block = static_cast<int32_t>(blockIdx.x);
  return round * static_cast<int32_t>(gridDim.x) + (round % 2 == 0 ? block : block ^ 1);
}

// The warpgroup that copies.
template <int D>
class Producer {
 public:
  __device__ Producer(const Shared<D>& shared, const Maps& maps) : shared_(shared), maps_(maps) {}

  __device__ void fetch(const PrefillArgs& args, const Item& item) {
    shared_.free(Shared<D>::kQ, 0).wait(q_++ % 2 ^ 1);
    copy_queries(args, item, shared_.queries());
    arrive_after_copies(shared_.full(Shared<D>::kQ, 0).address);

    const PrefillKeys<bf16> keys(args.kv, args.layer, item.row, item.head, static_cast<const bf16*>(args.k),
                                 static_cast<const bf16*>(args.v));
    const int32_t halves = keys.resident_tiles() + (item.row.token_count + kTileKeys - 1) / kTileKeys;
    for (int32_t t = 0; t < item.tiles; ++t, ++tile_) {
      const uint32_t stage = tile_ % kStages;
      const uint32_t parity = tile_ / kStages % 2 ^ 1;
      KeyTile<bf16> half[2] = {keys.at(2 * t), keys.at(min(2 * t + 1, halves - 1))};
      if (2 * t + 1 >= halves) half[1].count = 0;
      shared_.free(Shared<D>::kK, stage).wait(parity);
      copy_tile(args, item, shared_.keys(stage), half, false, shared_.full(Shared<D>::kK, stage));
      shared_.free(Shared<D>::kV, stage).wait(parity);
      copy_tile(args, item, shared_.values(stage), half, true, shared_.full(Shared<D>::kV, stage));
    }
  }

 private:
  // Whole halves by the copy engine, the others by all threads, with zeros behind the valid keys.
  __device__ void copy_tile(const PrefillArgs& args, const Item& item, uint32_t to,
                            const KeyTile<bf16> (&half)[2], bool values, SharedBarrier full) {
    for (int h = 0; h < 2; ++h) {
      const KeyTile<bf16>& tile = half[h];
      if (tile.count < kTileKeys) {
        copy_rows<D, kTileKeys>(
            values ? tile.v : tile.k, tile.stride, tile.count, ProductTile<D>::kRowBytes,
            [=](int row, int chunk) { return to + ProductTile<D>::at(kKeys, h * kTileKeys + row, chunk); });
      } else if (threadIdx.x == 0) {
        full.expect(kTileKeys * D * 2);
        const bool resident = tile.first < 0;
        const CUtensorMap& map = resident ? maps_.pool : values ? maps_.v : maps_.k;
        const int64_t pool_row =
            (tile.k - static_cast<const bf16*>(args.kv.kv)) / D + (values ? kPageSlots : 0);
        const int32_t row = resident ? static_cast<int32_t>(pool_row) : item.row.token_begin + tile.first;
        for (int block = 0; block < D / ProductTile<D>::kColumns; ++block) {
          copy_box(to + ProductTile<D>::at(kKeys, h * kTileKeys, block * ProductTile<D>::kColumns / 8), &map,
                   block * ProductTile<D>::kColumns, resident ? 0 : item.head, row, full);
        }
      }
    }
    arrive_after_copies(full.address);
  }

  __device__ void copy_queries(const PrefillArgs& args, const Item& item, uint32_t to) {
    constexpr int kChunks = D / 8;
    const BlockQueries queries(item.row, args.kv.kv_heads, args.group, item.head);
#pragma unroll 4
    for (int index = static_cast<int>(threadIdx.x); index < kQueries * kChunks; index += kGroupThreads) {
      const int32_t query = item.first + index / kChunks;
      const bool valid = query < queries.count;
      const bf16* from = static_cast<const bf16*>(args.q) + queries.index(valid ? query : item.first) * D;
      const int chunk = index % kChunks;
      copy_async(to + ProductTile<D>::at(kQueries, index / kChunks, chunk), from + chunk * 8, valid);
    }
  }

  const Shared<D>& shared_;
  const Maps& maps_;
  uint32_t q_ = 0;     // items so far
  uint32_t tile_ = 0;  // tiles so far
};

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

  __device__ void attend(const PrefillArgs& args, const Item& item) {
    float s[kKeys / 2];
    uint32_t p[kKeys / 16][4];
    load_queries();
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
      release(Shared<D>::kK, tile_);
      mask(args, item, t, s);
      float shrink[2];
      weigh(s, args.scale2, shrink);
      compute_before_waiting(sum_[0] + sum_[1]);
      wait_for_products<0>();
      release(Shared<D>::kV, tile_ - 1);
      if (__any_sync(~0U, shrink[0] != 1 || shrink[1] != 1)) {
#pragma unroll
        for (int i = 0; i < D / 2; ++i) out_[i] *= shrink[i / 2 % 2];
      }
      pack(s, p);
    }
    start_values(tile_, publish, p);
    wait_for_products<0>();
    release(Shared<D>::kV, tile_++);
    store(args, item);
  }

 private:
  // Whether threads have copied some of the tile: a half of it has fewer than 64 keys.
  __device__ static bool has_part(const Item& item, int32_t tile) {
    const int32_t resident = (item.row.resident + kTileKeys - 1) / kTileKeys;
    const auto keys_of = [&](int32_t half) {
      return half < resident ? item.row.resident - half * kTileKeys
                             : item.row.token_count - (half - resident) * kTileKeys;
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
    shared_.full(Shared<D>::kQ, 0).wait(q_++ % 2);
    const int row = group_ * kGroupQueries + thread_ / 32 * 16 + thread_ % 16;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const int chunk = 2 * step + thread_ % 32 / 16;
      load_matrices(q_fragments_[step], shared_.queries() + ProductTile<D>::at(kQueries, row, chunk));
    }
    release(Shared<D>::kQ, 0);
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
    const int32_t resident_halves = (item.row.resident + kTileKeys - 1) / kTileKeys;
    const int32_t first_token = (item.first + group_ * kGroupQueries) / args.group;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t index = 2 * tile + half;
      const int32_t left = item.row.resident - index * kTileKeys;   // resident keys from here on
      const int32_t first = (index - resident_halves) * kTileKeys;  // of the block's tokens
      const bool resident = index < resident_halves;
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
    top_[0] = top_[1] = -INFINITY;
    sum_[0] = sum_[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 2; ++i) out_[i] = 0;
    float shrink[2];
    weigh(s, scale2, shrink);
  }

  // Scores become weights against the new top; what was summed before has to shrink.
  __device__ void weigh(float (&s)[kKeys / 2], float scale2, float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = -INFINITY;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) most = fmaxf(most, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0U, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0U, most, 2));
      const float top = raised_top(top_[r], most, scale2);
      shrink[r] = exp2_fast((top_[r] - top) * scale2);
      top_[r] = top;
      const float offset = top * scale2;
      float added = 0;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int i = 4 * j + 2 * r; i < 4 * j + 2 * r + 2; ++i) {
          s[i] = exp2_fast(fmaf(s[i], scale2, -offset));
          added += s[i];
        }
      }
      sum_[r] = fmaf(sum_[r], shrink[r], added);
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
    const BlockQueries queries(item.row, args.kv.kv_heads, args.group, item.head);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = sum_[r];
      total += __shfl_xor_sync(~0U, total, 1);
      total += __shfl_xor_sync(~0U, total, 2);
      const int32_t query = item.first + row_ + 8 * r;
      if (query >= queries.count) continue;
      const int64_t index = queries.index(query);
      const float share = 1.0F / total;
      uint32_t* to = reinterpret_cast<uint32_t*>(static_cast<bf16*>(args.out) + index * D) + thread_ % 4;
#pragma unroll
      for (int j = 0; j < D / 8; ++j) {
        to[4 * j] = pack_bf16(out_[4 * j + 2 * r] * share, out_[4 * j + 2 * r + 1] * share);
      }
      if (thread_ % 4 == 0) args.lse[index] = kLn2 * fmaf(top_[r], args.scale2, log2f(total));
    }
  }

  const Shared<D>& shared_;
  int group_;
  int thread_;
  int row_;  // of the item's queries: this thread's first; the other is 8 further
  uint32_t q_ = 0;
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
    using Kind = typename Shared<D>::Kind;
    if (threadIdx.x == 0) {
      for (int kind = 0; kind < 3; ++kind) {
        for (uint32_t buffer = 0; buffer < kStages; ++buffer) {
          shared.full(static_cast<Kind>(kind), buffer).init(kGroupThreads);
          shared.free(static_cast<Kind>(kind), buffer).init(kConsumers * 4);
        }
      }
    }
    __syncthreads();
    Item item;
    if (threadIdx.x < kGroupThreads) {
      give_registers<kProducerRegisters>();
      Producer<D> producer(shared, maps);
      for (int32_t round = 0; round * static_cast<int32_t>(gridDim.x) < items; ++round) {
        const int32_t index = item_index(round);
        if (index < items && item.load(args, index, query_blocks)) producer.fetch(args, item);
      }
    } else {
      take_registers<kConsumerRegisters>();
      Consumer<D> consumer(shared);
      for (int32_t round = 0; round * static_cast<int32_t>(gridDim.x) < items; ++round) {
        const int32_t index = item_index(round);
        if (index < items && item.load(args, index, query_blocks)) consumer.attend(args, item);
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
