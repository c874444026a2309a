// cuBLASLt as the Linear layers of one stream share it: handle, workspace, chosen algorithms.
#pragma once

#include <map>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/linear/cuda/matmul_problem.h"
#include "kernels/linear/linear.h"

namespace batchmax::kernels {

class MatmulLibrary::State {
 public:
  explicit State(const Stream& stream);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  // Times the candidates for the bucket of `rows` on `weight` and `bias`, unless that has been done.
  void prepare(const Stream& stream, const cuda::MatmulShape& shape, int64_t rows, const void* weight,
               const void* bias);
  void run(const Stream& stream, const cuda::MatmulShape& shape, int64_t rows,
           const cuda::MatmulOperands& operands);

 private:
  struct Choice {
    cublasLtMatmulAlgo_t algorithm;
    bool timed;
  };
  using Key = std::pair<cuda::MatmulShape, int64_t>;  // and bucket

  Choice& choice(const cuda::MatmulShape& shape, int64_t bucket, const void* bias);
  double seconds(const Stream& stream, const cuda::MatmulProblem& problem,
                 const cublasLtMatmulAlgo_t& algorithm, const cuda::MatmulOperands& operands,
                 const Buffer& flush) const;

  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  size_t flush_bytes_;
  std::map<Key, Choice> choices_;
};

}  // namespace batchmax::kernels
