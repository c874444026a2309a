#include "kernels/attention/cpu/query_block.h"

#include <cstring>

namespace batchmax::kernels::cpu {
namespace {

const std::byte* row_of(const Tensor& tensor, int64_t token, int64_t head) {
  const int64_t first = (token * tensor.dim(1) + head) * tensor.dim(2);
  return static_cast<const std::byte*>(tensor.data()) + static_cast<size_t>(first) * size_of(tensor.dtype());
}

template <typename T>
void convert(const std::byte* from, int32_t n, float* to) {
  const T* values = reinterpret_cast<const T*>(from);
  for (int32_t d = 0; d < n; ++d) to[d] = to_float(values[d]);
}

}  // namespace

void load_queries(const Tensor& q, const QuerySpan& span, float scale, const Tiles& tiles,
                  QueryBlock& block) {
  const auto head_dim = static_cast<int32_t>(q.dim(2));
  block.count = span.count();
  block.head_dim = head_dim;
  block.scale = scale * kLog2E;
  float* to = block.queries;
  for (int32_t i = 0; i < block.count; ++i) {
    const std::byte* from = row_of(q, span.first_token + i / span.group, span.first_head + i % span.group);
    if (tiles.paired) {
      std::memcpy(to, from, sizeof(bf16) * static_cast<size_t>(head_dim));
      to += head_dim / 2;
    } else {
      q.dtype() == DType::bf16 ? convert<bf16>(from, head_dim, to) : convert<float>(from, head_dim, to);
      to += head_dim;
    }
  }
  tiles.spread(block);
}

void store_out(const QueryBlock& block, const QuerySpan& span, const Tensor& out) {
  for (int32_t i = 0; i < block.count; ++i) {
    const int64_t first =
        ((span.first_token + i / span.group) * out.dim(1) + span.first_head + i % span.group) * out.dim(2);
    const float* from = block.out + static_cast<int64_t>(i) * block.head_dim;
    const float part = 1.0F / block.sums[i * 16];
    if (out.dtype() == DType::bf16) {
      for (int32_t d = 0; d < block.head_dim; ++d) out.as<bf16>()[first + d] = to_bf16(from[d] * part);
    } else {
      for (int32_t d = 0; d < block.head_dim; ++d) out.as<float>()[first + d] = from[d] * part;
    }
  }
}

KeyTile slot_tile(const KvView& kv, int32_t layer, int32_t sequence, int32_t head, int32_t first_slot,
                  int32_t slots) {
  const int32_t* pages =
      kv.page_tables + static_cast<int64_t>(sequence) * kv.table_stride + first_slot / kPageSlots;
  const size_t bytes = kv.tile_elements() * size_of(kv.dtype);
  const auto* pool = static_cast<const std::byte*>(kv.kv);
  const std::byte* k = pool + kv.tile_index(layer, pages[0], head) * bytes;
  const bool last = first_slot + kPageSlots >= slots;
  return {.k = k,
          .v = k + bytes / 2,
          .stride = kv.head_dim,
          .count = last ? slots - first_slot : kPageSlots,
          .page = true,
          .next = last ? nullptr : pool + kv.tile_index(layer, pages[1], head) * bytes};
}

KeyTile staging_tile(const Tensor& k, const Tensor& v, int64_t first_token, int32_t head, int32_t count) {
  return {.k = row_of(k, first_token, head),
          .v = v ? row_of(v, first_token, head) : nullptr,
          .stride = k.dim(1) * k.dim(2),
          .count = count,
          .page = false,
          .next = nullptr};
}

}  // namespace batchmax::kernels::cpu
