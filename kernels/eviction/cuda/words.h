// Where a thread block keeps a 32-bit word per candidate: first its position, then its score's order or its
// value. In shared memory, or in the op's workspace where there are more candidates than fit beside the rest.
#pragma once

#include "kernels/core/tensor.h"
#include "kernels/eviction/cuda/candidates.h"

namespace batchmax::kernels::cuda {

inline constexpr int32_t kSharedWords = 8192;  // 32 of the 48 KB that every device gives without asking

// Of one op.
struct Words {
  uint32_t* workspace;  // [layers, rows, heads, pitch]; used where pitch > kSharedWords
  int64_t pitch;

  Words(const Tensor& scratch, int64_t most)
      : workspace(static_cast<uint32_t*>(scratch.data())), pitch(most) {}
  __host__ __device__ bool in_shared() const { return pitch <= kSharedWords; }
  size_t shared_bytes() const { return in_shared() ? static_cast<size_t>(pitch) * sizeof(uint32_t) : 0; }
  // head: index of the (layer, row, head).
  __device__ uint32_t* of(int64_t head, uint32_t* shared) const {
    return in_shared() ? shared : workspace + head * pitch;
  }
};

}  // namespace batchmax::kernels::cuda
