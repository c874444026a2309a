// One product out = x · Wᵀ + bias as cuBLASLt describes it. cuBLASLt thinks in column-major matrices: there
// the row-major W [N, K] is a K × N matrix to be transposed, x [M, K] is K × M and out [M, N] is N × M.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <vector>

#include "kernels/core/dtype.h"

namespace batchmax::kernels::cuda {

// Throws std::runtime_error naming call, device and cuBLAS's message.
void check(cublasStatus_t status, const char* call);

struct MatmulShape {
  int64_t outputs;  // N
  int64_t inputs;   // K
  DType compute;    // of W and x
  DType out;
  bool bias;
  auto operator<=>(const MatmulShape&) const = default;
};

struct MatmulOperands {
  const void* weight;
  const void* bias;  // of out's dtype; nullptr: none
  const void* x;
  void* out;
};

class MatmulProblem {
 public:
  MatmulProblem(const MatmulShape& shape, int64_t rows, const void* bias);

  // The library's candidates, its own favourite first; at most `most`. Sums over K are never split in a way
  // whose order depends on timing. With `whole_sums` they are not split at all.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(cublasLtHandle_t handle, size_t workspace_bytes,
                                                          int most, bool whole_sums) const;
  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                     const MatmulOperands& operands, void* workspace, size_t workspace_bytes,
                     cudaStream_t queue) const;

 private:
  MatmulShape shape_;
  cublasLtMatmulDescOpaque_t product_;
  cublasLtMatrixLayoutOpaque_t weight_;
  cublasLtMatrixLayoutOpaque_t x_;
  cublasLtMatrixLayoutOpaque_t out_;
};

}  // namespace batchmax::kernels::cuda
