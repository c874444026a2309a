// The slots of a (row, KV head) are cut into at most 8 chunks by their number alone. All query heads of the
// group attend to a chunk at once and leave maximum, sum and weighted values in the workspace; each K and V
// byte is read once. Then the chunks are joined in order and, with mass, the scores that were kept become
// probabilities: 4 bytes per slot and query head on top of K and V. Where there are many heads a thread does
// all of this for one after the other, and what it keeps stays in its cache; where there are few, threads
// share a head's chunks and join when all are done.
#include "kernels/attention/decode_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/attention/backends.h"
#include "kernels/attention/cpu/attention.h"
#include "kernels/attention/cpu/query_block.h"
#include "kernels/core/cpu/team.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int32_t kMaxChunks = 8;
constexpr int32_t kLeastChunk =
    512;  // slots; 128 KB or more of K and V in bf16, against some 100 ns to hand out
constexpr int64_t kHeadsOfThread = 16;  // so many that the last ones, taken whole, leave nobody idle for long

int32_t chunk_slots(int32_t slots) {
  const int32_t even = (slots + kMaxChunks - 1) / kMaxChunks;
  return std::max(kLeastChunk, (even + kPageSlots - 1) / kPageSlots * kPageSlots);
}

// Of one (row, query head, chunk) in the workspace [rows, Hq, kMaxChunks]: out[D], then top and sum.
constexpr int64_t partial_floats(int64_t head_dim) { return head_dim + 16; }

// Slots of one (row, KV head).
struct Item {
  int32_t row;
  int32_t head;
  int32_t begin;
  int32_t end;
  int64_t kept;  // where the scores of the (row, head), [group, slots], begin
};

class Decode {
 public:
  Decode(const DecodeAttention& args, Isa isa)
      : args_(args),
        tiles_(tiles_for(isa, args.q.dtype(), args.kv.dtype)),
        query_heads_(static_cast<int32_t>(args.q.dim(1))),
        group_(query_heads_ / args.kv.kv_heads),
        head_dim_(args.kv.head_dim) {}

  int32_t slots(const Item& item) const { return decode_slots(args_.rows.data[item.row]); }

  // Attends to the item's chunks, and meanwhile fetches the first page of `then`, which this thread takes
  // next. `scores` of the (row, head) are kept, or null.
  void attend(const Item& item, const Item* then, float* scores) const {
    const void* next = then == nullptr ? nullptr : page(*then, then->begin).k;
    const int32_t each = chunk_slots(slots(item));
    QueryBlock block;
    load_queries(args_.q, {args_.rows.data[item.row].token_begin, 1, item.head * group_, group_}, args_.scale,
                 tiles_, block);
    std::fill_n(block.visible, block.count, kTileKeys);
    for (int32_t begin = item.begin; begin < item.end; begin += each) {
      const int32_t end = std::min(item.end, begin + each);
      tiles_.begin(block);
      for (int32_t slot = begin; slot < end; slot += kTileKeys) {
        KeyTile tile = page(item, slot);
        if (slot + kTileKeys >= item.end) tile.next = next;
        tiles_.attend(tile, block, scores == nullptr ? nullptr : scores + slot, slots(item));
      }
      tiles_.finish(block);
      for (int32_t i = 0; i < group_; ++i) {
        float* to = partial(item.row, item.head * group_ + i, begin / each);
        std::copy_n(block.out + static_cast<int64_t>(i) * head_dim_, head_dim_, to);
        to[head_dim_] = block.top[i];
        to[head_dim_ + 1] = block.sums[i * 16];
      }
    }
  }

  void join(const Item& item, const float* scores) const {
    const Row& row = args_.rows.data[item.row];
    float lse2[8];
    for (int32_t i = 0; i < group_; ++i) lse2[i] = join_chunks(item, item.head * group_ + i);
    if (scores == nullptr) return;
    const int32_t slots = decode_slots(row);
    const int32_t* pages = args_.kv.page_tables + static_cast<int64_t>(row.sequence) * args_.kv.table_stride;
    for (int32_t slot = 0; slot < slots; slot += kPageSlots) {
      const int32_t count = std::min(kPageSlots, slots - slot);
      float received[kPageSlots] = {};
      for (int32_t i = 0; i < group_; ++i) {
        tiles_.add_probabilities(scores + static_cast<int64_t>(i) * slots + slot, count, lse2[i], received);
      }
      const size_t first = args_.kv.tile_index(args_.layer, pages[slot / kPageSlots], item.head) * kPageSlots;
      for (int32_t j = 0; j < count; ++j) {
        const size_t at = first + static_cast<size_t>(j);
        if (args_.kv.pos[at] != row.position) args_.kv.mass[at] += received[j];
      }
    }
  }

 private:
  KeyTile page(const Item& item, int32_t slot) const {
    return slot_tile(args_.kv, args_.layer, args_.rows.data[item.row].sequence, item.head, slot, slots(item));
  }

  float* partial(int32_t row, int32_t query_head, int32_t chunk) const {
    const int64_t index = (static_cast<int64_t>(row) * query_heads_ + query_head) * kMaxChunks + chunk;
    return static_cast<float*>(args_.workspace.data()) + index * partial_floats(head_dim_);
  }

  // Writes out of one query; its log2 Σ 2^score.
  float join_chunks(const Item& item, int32_t query_head) const {
    const Row& row = args_.rows.data[item.row];
    const int32_t each = chunk_slots(slots(item));
    const int32_t chunks = (slots(item) + each - 1) / each;
    float top = partial(item.row, query_head, 0)[head_dim_];
    for (int32_t c = 1; c < chunks; ++c) top = std::max(top, partial(item.row, query_head, c)[head_dim_]);
    float joined[kMaxHeadDim] = {};
    float sum = 0;
    for (int32_t c = 0; c < chunks; ++c) {
      const float* part = partial(item.row, query_head, c);
      const float weight = std::exp2(part[head_dim_] - top);
      sum += weight * part[head_dim_ + 1];
      for (int32_t d = 0; d < head_dim_; ++d) joined[d] += weight * part[d];
    }
    const int64_t first = (static_cast<int64_t>(row.token_begin) * query_heads_ + query_head) * head_dim_;
    const float share = 1.0F / sum;
    for (int32_t d = 0; d < head_dim_; ++d) joined[d] *= share;
    if (args_.out.dtype() == DType::bf16) {
      std::transform(joined, joined + head_dim_, args_.out.as<bf16>() + first, to_bf16);
    } else {
      std::copy_n(joined, head_dim_, args_.out.as<float>() + first);
    }
    return top + std::log2(sum);
  }

  const DecodeAttention& args_;
  Tiles tiles_;
  int32_t query_heads_;
  int32_t group_;
  int32_t head_dim_;
};

// Calls work(item, the one that this thread takes after it or null) for each item, by all threads of the
// team.
template <typename Work>
void take_turns(const std::vector<Item>& items, std::atomic<size_t>& next, Work work) {
  const auto take = [&] {
    const size_t i = next.fetch_add(1, std::memory_order_relaxed);
    return i < items.size() ? &items[i] : nullptr;
  };
  for (const Item* item = take(); item != nullptr;) {
    const Item* then = take();
    work(*item, then);
    item = then;
  }
}

// A thread takes whole heads. Scores are kept for the one at hand: by each thread for itself.
void attend_heads(const Decode& decode, const std::vector<Item>& heads, size_t kept_floats) {
  std::atomic<size_t> next{0};
#pragma omp parallel
  {
    const std::unique_ptr<float[]> kept(kept_floats > 0 ? new float[kept_floats] : nullptr);
    take_turns(heads, next, [&](const Item& head, const Item* then) {
      decode.attend(head, then, kept.get());
      decode.join(head, kept.get());
    });
  }
}

// Threads take chunks of heads, and join when all have been attended to.
void attend_chunks(const Decode& decode, const std::vector<Item>& heads, size_t kept_floats) {
  std::vector<Item> chunks;
  for (const Item& head : heads) {
    const int32_t each = chunk_slots(head.end);
    for (int32_t begin = 0; begin < head.end; begin += each) {
      chunks.push_back({head.row, head.head, begin, std::min(head.end, begin + each), head.kept});
    }
  }
  const std::unique_ptr<float[]> kept(kept_floats > 0 ? new float[kept_floats] : nullptr);
  const auto scores = [&](const Item& item) { return kept ? kept.get() + item.kept : nullptr; };
  std::atomic<size_t> next{0};
#pragma omp parallel if (chunks.size() > 1)
  {
    take_turns(chunks, next,
               [&](const Item& chunk, const Item* then) { decode.attend(chunk, then, scores(chunk)); });
#pragma omp barrier
#pragma omp for schedule(static)
    for (size_t i = 0; i < heads.size(); ++i) decode.join(heads[i], scores(heads[i]));
  }
}

}  // namespace

void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa, DecodeShare share) {
  const Decode decode(args, isa);
  std::vector<Item> heads;
  int64_t kept = 0;  // floats; not part of the workspace, whose size does not depend on the lengths
  int64_t most = 0;
  for (int32_t r = 0; r < args.rows.count; ++r) {
    if (args.rows.data[r].sequence < 0) continue;
    const int32_t slots = decode_slots(args.rows.data[r]);
    const int64_t each = with_mass ? args.q.dim(1) / args.kv.kv_heads * slots : 0;
    for (int32_t head = 0; head < args.kv.kv_heads; ++head, kept += each) {
      heads.push_back({r, head, 0, slots, kept});
    }
    most = std::max(most, each);
  }
  if (share == DecodeShare::heads) {
    attend_heads(decode, heads, static_cast<size_t>(most));
  } else {
    attend_chunks(decode, heads, static_cast<size_t>(kept));
  }
}

void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa) {
  const int64_t heads = int64_t{args.rows.count} * args.kv.kv_heads;
  decode_attention(args, with_mass, isa,
                   heads >= kHeadsOfThread * most_threads() ? DecodeShare::heads : DecodeShare::chunks);
}

void decode_attention(const DecodeAttention& args, bool with_mass) {
  decode_attention(args, with_mass, best_isa());
}

size_t decode_workspace_bytes(int64_t rows, int64_t query_heads, int64_t head_dim) {
  return static_cast<size_t>(rows * query_heads * kMaxChunks * partial_floats(head_dim)) * sizeof(float);
}

}  // namespace batchmax::kernels::cpu
