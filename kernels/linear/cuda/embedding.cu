// One row copy per token: 2 · T · d elements moved, by 16-byte pieces where rows are made of them, four to a
// thread.
#include "kernels/core/cuda/check.h"
#include "kernels/core/cuda/vec.h"
#include "kernels/linear/implementation.h"

namespace batchmax::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kEach = 4;

// row_pieces pieces of type Piece in a row. Grid: (tokens, parts of a row).
template <typename Piece>
__global__ void copy_rows(const int32_t* ids, int64_t vocabulary, const Piece* table, Piece* out,
                          int row_pieces) {
  const int32_t id = ids[blockIdx.x];
  device_check(id >= 0 && id < vocabulary);
  const Piece* from = table + static_cast<int64_t>(id) * row_pieces;
  Piece* to = out + static_cast<int64_t>(blockIdx.x) * row_pieces;
  const int first = static_cast<int>(blockIdx.y * (kThreads * kEach) + threadIdx.x);
  Piece held[kEach];
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (first + j * kThreads < row_pieces) held[j] = from[first + j * kThreads];
  }
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (first + j * kThreads < row_pieces) to[first + j * kThreads] = held[j];
  }
}

template <typename Piece>
void launch(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out) {
  const auto row_pieces =
      static_cast<int>(static_cast<size_t>(table.dim(1)) * size_of(table.dtype()) / sizeof(Piece));
  const dim3 grid(static_cast<unsigned>(ids.dim(0)),
                  static_cast<unsigned>(ceil_div(row_pieces, kThreads * kEach)));
  if (grid.x == 0 || grid.y == 0) return;
  copy_rows<<<grid, kThreads, 0, stream_of(stream)>>>(ids.as<int32_t>(), table.dim(0),
                                                      static_cast<const Piece*>(table.data()),
                                                      static_cast<Piece*>(out.data()), row_pieces);
  check_launch("embedding");
}

}  // namespace

void embedding(const Stream& stream, const Tensor& ids, const Tensor& table, const Tensor& out) {
  const size_t row_bytes = static_cast<size_t>(table.dim(1)) * size_of(table.dtype());
  if (row_bytes % sizeof(uint4) == 0) {
    launch<uint4>(stream, ids, table, out);
  } else if (row_bytes % sizeof(uint32_t) == 0) {
    launch<uint32_t>(stream, ids, table, out);
  } else {
    launch<uint16_t>(stream, ids, table, out);
  }
}

}  // namespace batchmax::kernels::cuda
