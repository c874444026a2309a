// Copies of whole K and V rows: 4 · head_dim elements moved per written slot and head, and 8 bytes of pos and
// mass.
#include <cstring>

#include "kernels/eviction/backends.h"

namespace batchmax::kernels::cpu {
namespace {

// A slot of one (layer, row, KV head).
struct Slot {
  std::byte* k;
  std::byte* v;
  int32_t* pos;
  float* mass;
};

Slot slot_at(const KvView& kv, int32_t layer, const Row& row, int32_t head, int32_t slot) {
  const int32_t page =
      kv.page_tables[static_cast<int64_t>(row.sequence) * kv.table_stride + slot / kPageSlots];
  const size_t tile = kv.tile_index(layer, page, head);
  const size_t offset = static_cast<size_t>(slot % kPageSlots);
  const size_t row_bytes = static_cast<size_t>(kv.head_dim) * size_of(kv.dtype);
  std::byte* k =
      static_cast<std::byte*>(kv.kv) + tile * kv.tile_elements() * size_of(kv.dtype) + offset * row_bytes;
  return {k, k + kPageSlots * row_bytes, kv.pos + tile * kPageSlots + offset,
          kv.mass + tile * kPageSlots + offset};
}

void store(const KvView& kv, int32_t layer, const Row& row, int32_t head, int32_t token, int32_t slot,
           const NewTokens& tokens) {
  const size_t row_bytes = static_cast<size_t>(kv.head_dim) * size_of(kv.dtype);
  const size_t source = static_cast<size_t>(row.token_begin + token) * static_cast<size_t>(kv.kv_heads) +
                        static_cast<size_t>(head);
  const Slot to = slot_at(kv, layer, row, head, slot);
  std::memcpy(to.k, static_cast<const std::byte*>(tokens.k.data()) + source * row_bytes, row_bytes);
  std::memcpy(to.v, static_cast<const std::byte*>(tokens.v.data()) + source * row_bytes, row_bytes);
  *to.pos = row.position + token;
  *to.mass = tokens.mass_new ? tokens.mass_new.as<float>()[source] : 0.0F;
}

// Calls write(row, head) for all of them, on the team where there is enough to copy to pay for waking it.
template <typename Write>
void for_each_head(const KvView& kv, const Rows& rows, Write write) {
  int64_t slots = 0;
  for (int32_t r = 0; r < rows.count; ++r) slots += rows.host[r].token_count;
  const int64_t parts = static_cast<int64_t>(rows.count) * kv.kv_heads;
  [[maybe_unused]] constexpr int64_t kWorthATeam = 256;  // copies of 2 KB or less each, about 10 µs
#pragma omp parallel for schedule(static) if (slots * kv.kv_heads >= kWorthATeam)
  for (int64_t part = 0; part < parts; ++part) {
    const auto r = static_cast<int32_t>(part / kv.kv_heads);
    if (rows.data[r].sequence == kNoSequence) continue;
    write(r, static_cast<int32_t>(part % kv.kv_heads));
  }
}

}  // namespace

void append_slots(const Stream&, const KvView& kv, int32_t layer, const Rows& rows, const NewTokens& tokens,
                  const Tensor& queues) {
  for_each_head(kv, rows, [&](int32_t r, int32_t head) {
    const Row& row = rows.data[r];
    if (row.queue_index < 0) {
      for (int32_t i = 0; i < row.token_count; ++i) store(kv, layer, row, head, i, row.resident + i, tokens);
      return;
    }
    const int64_t queue = (static_cast<int64_t>(row.sequence) * kv.layers + layer) * kv.kv_heads + head;
    store(kv, layer, row, head, 0, queues.as<int32_t>()[queue * queues.dim(3) + row.queue_index], tokens);
  });
}

void replace_slots(const Stream&, const KvView& kv, int32_t layer, const Rows& rows, const NewTokens& tokens,
                   const Tensor& dest) {
  for_each_head(kv, rows, [&](int32_t r, int32_t head) {
    const Row& row = rows.data[r];
    for (int32_t i = 0; i < row.token_count; ++i) {
      const int32_t slot = dest.as<int32_t>()[static_cast<int64_t>(row.token_begin + i) * kv.kv_heads + head];
      if (slot >= 0) store(kv, layer, row, head, i, slot, tokens);
    }
  });
}

void compact_slots(const Stream&, const KvView& kv, int32_t layer, const Rows& rows, const Tensor& dest) {
  const size_t row_bytes = static_cast<size_t>(kv.head_dim) * size_of(kv.dtype);
  for_each_head(kv, rows, [&](int32_t r, int32_t head) {
    int64_t first = 0;
    for (int32_t before = 0; before < r; ++before) first += tail_surplus(rows.data[before]);
    const Row& row = rows.data[r];
    // Sources lie from row.keep on, destinations before: no copy overwrites what another still reads.
    for (int32_t i = 0; row.keep + i < row.resident + row.token_count; ++i) {
      const int32_t slot = dest.as<int32_t>()[(first + i) * kv.kv_heads + head];
      if (slot < 0) continue;
      const Slot from = slot_at(kv, layer, row, head, row.keep + i);
      const Slot to = slot_at(kv, layer, row, head, slot);
      std::memcpy(to.k, from.k, row_bytes);
      std::memcpy(to.v, from.v, row_bytes);
      *to.pos = *from.pos;
      *to.mass = *from.mass;
    }
  });
}

}  // namespace batchmax::kernels::cpu
