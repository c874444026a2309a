// One row copy per token: 2 · T · d elements moved. Too little work to be worth a team of threads at decode.
#include <cstring>

#include "kernels/linear/implementation.h"

namespace batchmax::kernels::cpu {

void embedding(const Stream&, const Tensor& ids, const Tensor& table, const Tensor& out) {
  const int32_t* id = ids.as<int32_t>();
  const size_t row_bytes = static_cast<size_t>(table.dim(1)) * size_of(table.dtype());
  const auto* from = static_cast<const std::byte*>(table.data());
  auto* to = static_cast<std::byte*>(out.data());
  for (int64_t t = 0; t < ids.dim(0); ++t) {
    CHECK_GE(id[t], 0);
    CHECK_LT(id[t], table.dim(0));
    std::memcpy(to + static_cast<size_t>(t) * row_bytes, from + static_cast<size_t>(id[t]) * row_bytes,
                row_bytes);
  }
}

}  // namespace batchmax::kernels::cpu
