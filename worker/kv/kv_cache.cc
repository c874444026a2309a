#include "worker/kv/kv_cache.h"

#include <algorithm>

#include "config/kv_reservation.h"
#include "monitoring/check.h"

namespace batchmax::worker {
namespace {

static_assert(config::kPageSlots == kernels::kPageSlots, "admission and kernels count the same pages");

size_t table_entries(const KvShape& shape) {
  return static_cast<size_t>(shape.max_sequences) * static_cast<size_t>(shape.table_pages);
}

// Slots of one page in all layers and heads of this rank.
size_t page_slots(const KvShape& shape) {
  return static_cast<size_t>(shape.layers) * static_cast<size_t>(shape.kv_heads) * kernels::kPageSlots;
}

}  // namespace

size_t KvCache::bytes_per_page(const KvShape& shape) {
  const size_t row = 2 * static_cast<size_t>(shape.head_dim) * kernels::size_of(shape.dtype);
  return page_slots(shape) * (row + sizeof(int32_t) + sizeof(float));
}

KvCache::KvCache(const kernels::Stream& stream, const KvShape& shape, int32_t pages)
    : shape_(shape),
      memory_(stream, static_cast<size_t>(pages) * bytes_per_page(shape)),
      tables_(stream, table_entries(shape) * sizeof(int32_t)),
      host_tables_(stream, table_entries(shape) * sizeof(int32_t)),
      queue_memory_(stream, static_cast<size_t>(shape.max_sequences) * static_cast<size_t>(shape.layers) *
                                static_cast<size_t>(shape.kv_heads) *
                                static_cast<size_t>(shape.decode_block) * sizeof(int32_t)),
      queues_(queue_memory_.data(), kernels::DType::i32,
              {shape.max_sequences, shape.layers, shape.kv_heads, shape.decode_block}) {
  const size_t slots = static_cast<size_t>(pages) * page_slots(shape);
  auto* bytes = static_cast<std::byte*>(memory_.data());
  view_.kv = bytes;
  bytes += slots * 2 * static_cast<size_t>(shape.head_dim) * kernels::size_of(shape.dtype);
  view_.pos = reinterpret_cast<int32_t*>(bytes);
  view_.mass = reinterpret_cast<float*>(bytes + slots * sizeof(int32_t));
  view_.dtype = shape.dtype;
  view_.layers = shape.layers;
  view_.pages = pages;
  view_.kv_heads = shape.kv_heads;
  view_.head_dim = shape.head_dim;
  view_.page_tables = static_cast<const int32_t*>(tables_.data());
  view_.table_stride = shape.table_pages;
}

void KvCache::set_page_table(const kernels::Stream& stream, int32_t sequence, int32_t first,
                             std::span<const int32_t> pages) {
  CHECK_GE(sequence, 0);
  CHECK_LT(sequence, shape_.max_sequences);
  CHECK_GE(first, 0);
  CHECK_LE(static_cast<size_t>(first) + pages.size(), static_cast<size_t>(shape_.table_pages));
  const size_t offset =
      static_cast<size_t>(sequence) * static_cast<size_t>(shape_.table_pages) + static_cast<size_t>(first);
  int32_t* host = static_cast<int32_t*>(host_tables_.data()) + offset;
  std::copy(pages.begin(), pages.end(), host);
  kernels::upload(stream, static_cast<int32_t*>(tables_.data()) + offset, host,
                  pages.size() * sizeof(int32_t));
}

}  // namespace batchmax::worker
