// Mass of a prefill block on Hopper's warpgroup products (sm_90a), bf16; the formula is in prefill_mass.cu.
//
// One thread block of three warpgroups on each multiprocessor takes an even share of all tiles of 64 keys of
// all rows and KV heads, in order: pages of resident slots, then the block's own tokens, for which only later
// queries count. The first warpgroup copies: one warp tiles of keys, the others 256 queries of a (row, KV
// head) and their lse, also the next ones while the last are in use. (A head with more queries has its tiles
// pass once for every 256.) The other two take every other tile: they read the keys into registers, as A of
// the products, and multiply them with all queries in two halves. They take turns, so that one's exponentials
// run beside the other's products. A key's sum is formed by one warpgroup in the order of the queries, and
// added by one thread. Work: 2 · D operations and one exponential for each pair; the exponentials, 16 a
// cycle, take as long as the tensor cores at D 128 and longer below.
//
// Keys past the valid ones may be NaN: what they sum to is not stored.
#include <cuda.h>

#include <algorithm>

#include "kernels/attention/cuda/mma.h"
#include "kernels/attention/cuda/prefill_keys.h"
#include "kernels/attention/cuda/prefill_mass.h"
#include "kernels/attention/cuda/tensor_map.h"
#include "kernels/attention/cuda/wgmma.h"
#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kGroupThreads = 128;
constexpr int kConsumers = 2;  // warpgroups that multiply
constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kQueries = 256;  // at once
constexpr int kProduct = 128;  // of one product
constexpr int kKeyThreads = 32;
constexpr int kQueryThreads = kGroupThreads - kKeyThreads;
constexpr int kStages = 4;        // of tiles
constexpr int kQueryBuffers = 2;  // of kQueries
// Of each thread: 40 · 128 + 232 · 256 = 64,512 of the multiprocessor's 65,536.
constexpr int kCopyRegisters = 40;
constexpr int kConsumerRegisters = 232;

struct Maps {
  CUtensorMap pool;  // rows: K and V of all pages in turn, one head
  CUtensorMap k;     // staging: tokens
};

template <int D>
struct Shared {
  static constexpr uint32_t kFront = 4096;  // lse of the buffers, barriers
  static constexpr uint32_t kQueryBytes = kQueries * D * 2;
  static constexpr uint32_t kTileBytes = kTileKeys * D * 2;
  static constexpr uint32_t kBytes = kFront + kQueryBuffers * kQueryBytes + kStages * kTileBytes + 1024;

  std::byte* memory;  // 1024-byte aligned
  uint32_t base;      // its address

  __device__ explicit Shared(std::byte* from)
      : memory(from + ((1024 - shared_address(from) % 1024) % 1024)), base(shared_address(memory)) {}
  // Of a buffer's queries, in units of log2.
  __device__ float* lse2(uint32_t buffer) const {
    return reinterpret_cast<float*>(memory) + buffer * kQueries;
  }
  __device__ uint32_t queries(uint32_t buffer) const { return base + kFront + buffer * kQueryBytes; }
  __device__ uint32_t keys(uint32_t stage) const { return queries(kQueryBuffers) + stage * kTileBytes; }

  // Full: all copying threads arrive. Free: of tiles each warp of the one warpgroup that reads them, of
  // queries each thread of both.
  __device__ SharedBarrier full_tile(uint32_t stage) const { return barrier(stage); }
  __device__ SharedBarrier free_tile(uint32_t stage) const { return barrier(kStages + stage); }
  __device__ SharedBarrier full_queries(uint32_t buffer) const { return barrier(2 * kStages + buffer); }
  __device__ SharedBarrier free_queries(uint32_t buffer) const {
    return barrier(2 * kStages + kQueryBuffers + buffer);
  }
  // One thread, before all others use them.
  __device__ void init_barriers() const {
    for (uint32_t stage = 0; stage < kStages; ++stage) {
      full_tile(stage).init(1);
      free_tile(stage).init(4);
    }
    for (uint32_t buffer = 0; buffer < kQueryBuffers; ++buffer) {
      full_queries(buffer).init(kQueryThreads);
      free_queries(buffer).init(kConsumers * kGroupThreads);
    }
  }

 private:
  __device__ SharedBarrier barrier(uint32_t index) const {
    return {base + kQueryBuffers * kQueries * 4 + 8 * index};
  }
};

// Up to 256 queries of a (row, KV head), and tiles that they give to.
struct Span {
  const Row* row;
  int32_t head;
  int32_t resident;
  int32_t token_begin;
  int32_t token_count;
  int32_t pages;  // resident tiles; the block's own follow
  int32_t begin;  // tiles
  int32_t end;
  int32_t first;    // query
  int32_t queries;  // of the (row, head)

  __device__ bool is_resident(int32_t tile) const { return tile < pages; }
  // Slot, or token of the block.
  __device__ int32_t first_key(int32_t tile) const {
    return (is_resident(tile) ? tile : tile - pages) * kTileKeys;
  }
  __device__ int32_t page(const KvView& kv, int32_t tile) const {
    return kv.page_tables[static_cast<int64_t>(row->sequence) * kv.table_stride + tile];
  }
};

// All spans of the thread block in turn, the same for each of its warps: its share of `heads` (row, KV head)
// of `tiles` tiles each, some of which may not exist.
template <typename Work>
__device__ void for_each_span(const MassArgs& args, int32_t heads, int32_t tiles, Work work) {
  const int64_t all = static_cast<int64_t>(heads) * tiles;
  const auto end = static_cast<int32_t>(all * (blockIdx.x + 1) / gridDim.x);
  for (auto at = static_cast<int32_t>(all * blockIdx.x / gridDim.x); at < end;) {
    Span span;
    span.row = args.rows + at / tiles / args.kv.kv_heads;
    span.head = at / tiles % args.kv.kv_heads;
    span.resident = span.row->resident;
    span.token_begin = span.row->token_begin;
    span.token_count = span.row->token_count;
    span.pages = (span.resident + kTileKeys - 1) / kTileKeys;
    span.begin = at % tiles;
    span.queries = span.token_count * args.group;
    const int32_t count = min(tiles - span.begin, end - at);
    span.end = min(span.begin + count, span.pages + (span.token_count + kTileKeys - 1) / kTileKeys);
    at += count;
    if (span.begin >= span.end) continue;
    for (span.first = 0; span.first < span.queries; span.first += kQueries) work(span);
  }
}

// One thread: tiles, by the copy engine.
template <int D>
class TileCopies {
 public:
  __device__ TileCopies(const Shared<D>& shared, const Maps& maps) : shared_(shared), maps_(maps) {}

  __device__ void fetch(const MassArgs& args, const Span& span) {
    int32_t page = span.is_resident(span.begin) ? span.page(args.kv, span.begin) : 0;
    for (int32_t t = span.begin; t < span.end; ++t, ++tile_) {
      const int32_t next = span.is_resident(t + 1) ? span.page(args.kv, t + 1) : 0;  // read ahead
      const uint32_t stage = tile_ % kStages;
      shared_.free_tile(stage).wait(tile_ / kStages % 2 ^ 1);
      copy(args, span, t, page, stage);
      page = next;
    }
  }

 private:
  __device__ void copy(const MassArgs& args, const Span& span, int32_t t, int32_t page,
                       uint32_t stage) const {
    const bool resident = span.is_resident(t);
    const auto pool_row =
        static_cast<int32_t>(args.kv.tile_index(args.layer, page, span.head)) * 2 * kPageSlots;
    const SharedBarrier full = shared_.full_tile(stage);
    full.expect(Shared<D>::kTileBytes);
#pragma unroll
    for (int block = 0; block < D / ProductTile<D>::kColumns; ++block) {
      copy_box(shared_.keys(stage) + ProductTile<D>::at(kTileKeys, 0, block * ProductTile<D>::kColumns / 8),
               resident ? &maps_.pool : &maps_.k, block * ProductTile<D>::kColumns, resident ? 0 : span.head,
               resident ? pool_row : span.token_begin + span.first_key(t), full);
    }
    full.arrive();
  }

  const Shared<D>& shared_;
  const Maps& maps_;
  uint32_t tile_ = 0;  // tiles so far
};

// The threads behind it: queries and their lse; zeros and +inf where there is none: its weights are 0.
template <int D>
class QueryCopies {
 public:
  __device__ explicit QueryCopies(const Shared<D>& shared) : shared_(shared) {}

  __device__ void fetch(const MassArgs& args, const Span& span) {
    constexpr int kChunks = D / 8;
    constexpr int kPass = kQueryThreads / kChunks;  // queries at once
    const uint32_t buffer = spans_ % kQueryBuffers;
    shared_.free_queries(buffer).wait(spans_++ / kQueryBuffers % 2 ^ 1);
    const int thread = static_cast<int>(threadIdx.x) - kKeyThreads;
    const BlockQueries queries(*span.row, args.kv.kv_heads, args.group, span.head);
    for (int i = thread; i < kQueries; i += kQueryThreads) {
      const int32_t query = span.first + i;
      shared_.lse2(buffer)[i] = query < span.queries ? args.lse[queries.index(query)] * kLog2E : INFINITY;
    }
    const int chunk = thread % kChunks;
    const bf16* from = static_cast<const bf16*>(args.q) + chunk * 8;
    QueryWalk walk(queries, span.first + thread / kChunks, kPass);
#pragma unroll 1
    for (int i = thread / kChunks; i < kQueries && thread / kChunks < kPass; i += kPass, walk.next()) {
      copy_async(shared_.queries(buffer) + ProductTile<D>::at(kQueries, i, chunk), from + walk.index() * D,
                 span.first + i < span.queries);
    }
    arrive_after_copies(shared_.full_queries(buffer).address);
  }

 private:
  const Shared<D>& shared_;
  uint32_t spans_ = 0;
};

// A warpgroup that multiplies: every other tile.
template <int D>
class Consumer {
 public:
  __device__ explicit Consumer(const Shared<D>& shared)
      : shared_(shared),
        group_(static_cast<int>(threadIdx.x) / kGroupThreads - 1),
        thread_(static_cast<int>(threadIdx.x) % kGroupThreads) {
    if (group_ == 1) give_turn(0);
  }

  __device__ void receive(const MassArgs& args, const Span& span) {
    const uint32_t buffer = spans_ % kQueryBuffers;
    shared_.full_queries(buffer).wait(spans_++ / kQueryBuffers % 2);
    publish_to_products();
    // A tile is the same warpgroup's for all of the head's queries: it adds to the keys in their order.
    for (int32_t t = span.begin; t < span.end; t += kConsumers) {
      if (t + group_ < span.end) {
        receive_tile(args, span, t + group_, tile_ + static_cast<uint32_t>(t + group_ - span.begin), buffer);
      } else {
        wait_for_turn(group_);
        give_turn(1 - group_);
      }
    }
    tile_ += static_cast<uint32_t>(span.end - span.begin);
    shared_.free_queries(buffer).arrive();
  }

 private:
  __device__ void receive_tile(const MassArgs& args, const Span& span, int32_t t, uint32_t tile,
                               uint32_t buffer) {
    const int32_t page = span.is_resident(t) ? span.page(args.kv, t) : 0;
    load_keys(tile);
    float s[kQueries / kProduct][kProduct / 2];
    wait_for_turn(group_);
    start_scores(shared_.queries(buffer), s[0]);
    start_scores(shared_.queries(buffer) + kProduct * ProductTile<D>::kRowBytes, s[1]);
    give_turn(1 - group_);
    float sums[2] = {};
    wait_for_products<1>();
    weigh(args, span, t, 0, shared_.lse2(buffer), s[0], sums);
    compute_before_waiting(sums[0] + sums[1]);
    wait_for_products<0>();
    weigh(args, span, t, kProduct, shared_.lse2(buffer) + kProduct, s[1], sums);
    add(args, span, t, page, sums);
  }

  // The tile as A of the products; its shared memory is free for another at once.
  __device__ void load_keys(uint32_t tile) {
    const uint32_t stage = tile % kStages;
    shared_.full_tile(stage).wait(tile / kStages % 2);
    const int row = thread_ / 32 * 16 + thread_ % 16;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const int chunk = 2 * step + thread_ % 32 / 16;
      load_matrices(keys_[step], shared_.keys(stage) + ProductTile<D>::at(kTileKeys, row, chunk));
    }
    __syncwarp();
    if (thread_ % 32 == 0) shared_.free_tile(stage).arrive();
  }

  __device__ void start_scores(uint32_t queries, float (&s)[kProduct / 2]) const {
    begin_products();
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      product<false>(s, keys_[step], ProductTile<D>::inner_columns(queries, kQueries, step), step > 0);
    }
    commit_products();
  }

  // The scores of queries span.first + at.. become weights.
  __device__ void weigh(const MassArgs& args, const Span& span, int32_t t, int32_t at, const float* lse2,
                        float (&s)[kProduct / 2], float (&sums)[2]) const {
    if (!span.is_resident(t)) {
      const int32_t seen = (span.first + at + kProduct - 1) / args.group;  // the last query's token
      if (seen <= span.first_key(t)) return;
      if ((span.first + at) / args.group < span.first_key(t) + kTileKeys) mask(args, span, t, at, s);
    }
#pragma unroll
    for (int j = 0; j < kProduct / 8; ++j) {
      const float2 offset = *reinterpret_cast<const float2*>(lse2 + 8 * j + thread_ % 4 * 2);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        sums[r] += exp2_fast(fmaf(s[4 * j + 2 * r], args.scale2, -offset.x));
        sums[r] += exp2_fast(fmaf(s[4 * j + 2 * r + 1], args.scale2, -offset.y));
      }
    }
  }

  // Queries that do not see a key give nothing to it, nor does the key's own.
  __device__ void mask(const MassArgs& args, const Span& span, int32_t t, int32_t at,
                       float (&s)[kProduct / 2]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int32_t giver = (span.first_key(t) + key(r) + 1) * args.group - span.first - at;
#pragma unroll
      for (int j = 0; j < kProduct / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (8 * j + thread_ % 4 * 2 + i < giver) s[4 * j + 2 * r + i] = -INFINITY;
        }
      }
    }
  }

  // Nobody else adds to these keys at the time; atomics spare the wait for what was there.
  __device__ void add(const MassArgs& args, const Span& span, int32_t t, int32_t page,
                      const float (&sums)[2]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = sums[r];
      sum += __shfl_xor_sync(~0U, sum, 1);
      sum += __shfl_xor_sync(~0U, sum, 2);
      const int32_t at = span.first_key(t) + key(r);
      if (thread_ % 4 != 0) continue;
      if (span.is_resident(t)) {
        const size_t to = args.kv.tile_index(args.layer, page, span.head) * kPageSlots;
        if (at < span.resident) atomicAdd(args.kv.mass + to + key(r), sum);
      } else if (at < span.token_count) {
        float* to =
            args.mass_new + static_cast<int64_t>(span.token_begin + at) * args.kv.kv_heads + span.head;
        if (span.first == 0) {
          *to = sum;
        } else {
          atomicAdd(to, sum);
        }
      }
    }
  }

  // This thread's keys of a tile.
  __device__ int32_t key(int r) const { return thread_ / 32 * 16 + 8 * r + thread_ % 32 / 4; }

  const Shared<D>& shared_;
  int group_;
  int thread_;
  uint32_t spans_ = 0;  // so far
  uint32_t tile_ = 0;
  uint32_t keys_[D / 16][4];
};

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    mass_wgmma_kernel(const __grid_constant__ MassArgs args, const __grid_constant__ Maps maps, int32_t heads,
                      int32_t tiles) {
  if constexpr (kHopper) {
    extern __shared__ std::byte memory[];
    const Shared<D> shared(memory);
    if (threadIdx.x == 0) shared.init_barriers();
    __syncthreads();
    if (threadIdx.x < kGroupThreads) {
      give_registers<kCopyRegisters>();
      if (threadIdx.x == 0) {
        TileCopies<D> copies(shared, maps);
        for_each_span(args, heads, tiles, [&](const Span& span) { copies.fetch(args, span); });
      } else if (threadIdx.x >= kKeyThreads) {
        QueryCopies<D> copies(shared);
        for_each_span(args, heads, tiles, [&](const Span& span) { copies.fetch(args, span); });
      }
    } else {
      take_registers<kConsumerRegisters>();
      Consumer<D> consumer(shared);
      for_each_span(args, heads, tiles, [&](const Span& span) { consumer.receive(args, span); });
    }
  } else {
    __trap();  // the host chooses this kernel for sm_90a only
  }
}

template <int D>
void launch(cudaStream_t stream, const MassArgs& args, int64_t tokens, int32_t rows, int32_t tiles,
            int multiprocessors) {
  const KvView& kv = args.kv;
  const int64_t pool_rows = static_cast<int64_t>(kv.layers) * kv.pages * kv.kv_heads * 2 * kPageSlots;
  const Maps maps{rows_of_heads(kv.kv, pool_rows, 1, D), rows_of_heads(args.k, tokens, kv.kv_heads, D)};
  const int32_t heads = rows * kv.kv_heads;
  const int32_t blocks = std::min(multiprocessors, (heads * tiles + kConsumers - 1) / kConsumers);
  check(cudaFuncSetAttribute(mass_wgmma_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             Shared<D>::kBytes),
        "cudaFuncSetAttribute");
  mass_wgmma_kernel<D>
      <<<static_cast<unsigned>(blocks), kThreads, Shared<D>::kBytes, stream>>>(args, maps, heads, tiles);
  check_launch("prefill_mass");
}

}  // namespace

void prefill_mass_wgmma(cudaStream_t stream, const MassArgs& args, int64_t tokens, int32_t rows,
                        int32_t tiles, int multiprocessors) {
  switch (args.kv.head_dim) {
    case 64:
      return launch<64>(stream, args, tokens, rows, tiles, multiprocessors);
    case 96:
      return launch<96>(stream, args, tokens, rows, tiles, multiprocessors);
    default:
      return launch<128>(stream, args, tokens, rows, tiles, multiprocessors);
  }
}

}  // namespace batchmax::kernels::cuda
