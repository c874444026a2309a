// The slots of a (row, KV head) are cut into at most 8 chunks by their number alone. First a thread per
// chunk: all query heads of the group attend to it and leave maximum, sum and weighted values in the
// workspace; each K and V byte is read once. Then a thread per (row, KV head) joins the chunks in order and,
// with mass, turns the scores it kept into probabilities: 4 bytes per slot and query head on top of K and V.
#include "kernels/attention/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/attention/backends.h"
#include "kernels/attention/cpu/attention.h"
#include "kernels/attention/cpu/query_block.h"

namespace batchmax::kernels::cpu {
namespace {

constexpr int32_t kMaxChunks = 8;
constexpr int32_t kLeastChunk =
    512;  // slots; 128 KB or more of K and V in bf16, against some 100 ns to hand out

int32_t chunk_slots(int32_t slots) {
  const int32_t even = (slots + kMaxChunks - 1) / kMaxChunks;
  return std::max(kLeastChunk, (even + kPageSlots - 1) / kPageSlots * kPageSlots);
}

// Of one (row, query head, chunk) in the workspace [rows, Hq, kMaxChunks]: out[D], then top and sum.
constexpr int64_t partial_floats(int64_t head_dim) { return head_dim + 16; }

struct Item {
  int32_t row;
  int32_t head;
  int32_t chunk;
  int64_t kept;  // of the row's scores [Hq, slots]
};

class Decode {
 public:
  Decode(const DecodeAttention& args, Isa isa)
      : args_(args),
        tiles_(tiles_for(isa, args.q.dtype(), args.kv.dtype)),
        query_heads_(static_cast<int32_t>(args.q.dim(1))),
        group_(query_heads_ / args.kv.kv_heads),
        head_dim_(args.kv.head_dim) {}

  void attend(const Item& item, float* kept) const {
    const Row& row = args_.rows.data[item.row];
    const int32_t slots = decode_slots(row);
    const int32_t begin = item.chunk * chunk_slots(slots);
    const int32_t end = std::min(slots, begin + chunk_slots(slots));
    QueryBlock block;
    load_queries(args_.q, {row.token_begin, 1, item.head * group_, group_}, args_.scale, tiles_, block);
    tiles_.begin(block);
    std::fill_n(block.visible, block.count, kTileKeys);
    float* scores =
        kept == nullptr ? nullptr : kept + item.kept + static_cast<int64_t>(item.head) * group_ * slots;
    for (int32_t slot = begin; slot < end; slot += kTileKeys) {
      tiles_.attend(slot_tile(args_.kv, args_.layer, row.sequence, item.head, slot, slots), block,
                    scores == nullptr ? nullptr : scores + slot, slots);
    }
    tiles_.finish(block);
    for (int32_t i = 0; i < group_; ++i) {
      float* to = partial(item.row, item.head * group_ + i, item.chunk);
      std::copy_n(block.out + static_cast<int64_t>(i) * head_dim_, head_dim_, to);
      to[head_dim_] = block.top[i];
      to[head_dim_ + 1] = block.sums[i * 16];
    }
  }

  void join(const Item& item, const float* kept) const {
    const Row& row = args_.rows.data[item.row];
    const int32_t slots = decode_slots(row);
    float lse2[8];
    for (int32_t i = 0; i < group_; ++i) lse2[i] = join_chunks(item.row, item.head * group_ + i);
    if (kept == nullptr) return;
    const float* scores = kept + item.kept + static_cast<int64_t>(item.head) * group_ * slots;
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
  float* partial(int32_t row, int32_t query_head, int32_t chunk) const {
    const int64_t index = (static_cast<int64_t>(row) * query_heads_ + query_head) * kMaxChunks + chunk;
    return static_cast<float*>(args_.workspace.data()) + index * partial_floats(head_dim_);
  }

  // Writes out of one query; its log2 Σ 2^score.
  float join_chunks(int32_t row_index, int32_t query_head) const {
    const Row& row = args_.rows.data[row_index];
    const int32_t slots = decode_slots(row);
    const int32_t chunks = (slots + chunk_slots(slots) - 1) / chunk_slots(slots);
    float top = partial(row_index, query_head, 0)[head_dim_];
    for (int32_t c = 1; c < chunks; ++c) top = std::max(top, partial(row_index, query_head, c)[head_dim_]);
    float joined[kMaxHeadDim] = {};
    float sum = 0;
    for (int32_t c = 0; c < chunks; ++c) {
      const float* part = partial(row_index, query_head, c);
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

}  // namespace

void decode_attention(const DecodeAttention& args, bool with_mass, Isa isa) {
  const Decode decode(args, isa);
  std::vector<Item> chunks;
  std::vector<Item> joins;
  int64_t kept_floats = 0;
  for (int32_t r = 0; r < args.rows.count; ++r) {
    if (args.rows.data[r].sequence < 0) continue;
    const int32_t slots = decode_slots(args.rows.data[r]);
    for (int32_t head = 0; head < args.kv.kv_heads; ++head) {
      joins.push_back({r, head, 0, kept_floats});
      for (int32_t c = 0; c * chunk_slots(slots) < slots; ++c) chunks.push_back({r, head, c, kept_floats});
    }
    kept_floats += args.q.dim(1) * slots;
  }
  // Not part of the workspace, whose size does not depend on the lengths. Left uninitialised.
  const std::unique_ptr<float[]> kept(with_mass ? new float[static_cast<size_t>(kept_floats)] : nullptr);
#pragma omp parallel if (chunks.size() > 1)
  {
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < chunks.size(); ++i) decode.attend(chunks[i], kept.get());
#pragma omp for schedule(static)
    for (size_t i = 0; i < joins.size(); ++i) decode.join(joins[i], kept.get());
  }
}

void decode_attention(const DecodeAttention& args, bool with_mass) {
  decode_attention(args, with_mass, best_isa());
}

size_t decode_workspace_bytes(int64_t rows, int64_t query_heads, int64_t head_dim) {
  return static_cast<size_t>(rows * query_heads * kMaxChunks * partial_floats(head_dim)) * sizeof(float);
}

}  // namespace batchmax::kernels::cpu
