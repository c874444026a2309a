// Where a thread keeps the candidates of the (layer, row, KV head) it works on, cut from the op's workspace.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tensor.h"

namespace batchmax::kernels::cpu {

struct Scratch {
  uint64_t* keys;      // [pitch] order of the unprotected candidates
  uint64_t* ordered;   // [pitch] the same, partly sorted
  float* values;       // [pitch]
  int32_t* positions;  // [pitch]
};
constexpr size_t scratch_bytes(int64_t pitch) { return static_cast<size_t>(pitch) * (8 + 8 + 4 + 4); }

inline Scratch scratch_of(const Tensor& workspace, int64_t pitch, int part) {
  auto* base = static_cast<std::byte*>(workspace.data()) + static_cast<size_t>(part) * scratch_bytes(pitch);
  const auto n = static_cast<size_t>(pitch);
  return {reinterpret_cast<uint64_t*>(base), reinterpret_cast<uint64_t*>(base + 8 * n),
          reinterpret_cast<float*>(base + 16 * n), reinterpret_cast<int32_t*>(base + 20 * n)};
}

}  // namespace batchmax::kernels::cpu
