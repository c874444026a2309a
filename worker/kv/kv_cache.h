// The KV cache of one rank: one allocation for all layers, page tables, victim queues (layouts:
// kernels/core/kv_view.h). Memory only: which pages are free is the leader's PagePool. Step thread.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/buffer.h"
#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"

namespace batchmax::worker {

struct KvShape {
  int32_t layers = 0;
  int32_t kv_heads = 0;  // of this rank
  int32_t head_dim = 0;
  kernels::DType dtype = kernels::DType::bf16;
  int32_t max_sequences = 0;
  int32_t table_pages = 0;   // entries of one page table
  int32_t decode_block = 0;  // entries of one victim queue
};

class KvCache {
 public:
  // Throws what Buffer throws.
  KvCache(const kernels::Stream& stream, const KvShape& shape, int32_t pages);

  // K, V, pos and mass of one page in all layers.
  static size_t bytes_per_page(const KvShape& shape);

  const KvShape& shape() const { return shape_; }
  const kernels::KvView& view() const { return view_; }
  const kernels::Tensor& queues() const {
    return queues_;
  }  // [max_sequences, layers, kv_heads, decode_block] i32

  // Entries [first, first + pages.size()) of a sequence's page table, in stream order. The steps that read
  // the old entries must be done.
  void set_page_table(const kernels::Stream& stream, int32_t sequence, int32_t first,
                      std::span<const int32_t> pages);

 private:
  KvShape shape_;
  kernels::Buffer memory_;
  kernels::Buffer tables_;
  kernels::PinnedBuffer host_tables_;
  kernels::Buffer queue_memory_;
  kernels::Tensor queues_;
  kernels::KvView view_;
};

}  // namespace batchmax::worker
