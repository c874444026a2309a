// Collectives of one tensor-parallel group on tensors of the backend. Implementations: threads of one process
// and MPI (host memory), NCCL (device memory, in stream order). Every rank makes the same calls in the same
// order. One thread per rank. Results are bit-identical on all ranks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::comm {

class TensorGroup {
 public:
  virtual ~TensorGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // In place: every tensor becomes its sum over the ranks. fp32 or bf16 (summed in fp32, in rank order,
  // rounded once, by the host implementations). Several tensors travel in one call.
  virtual void all_reduce(const kernels::Stream& stream, std::span<const kernels::Tensor> tensors) = 0;
  // part [R, n] of each rank; whole [R, size * n]: the columns of rank r at r * n. Same dtype.
  virtual void all_gather(const kernels::Stream& stream, const kernels::Tensor& part,
                          const kernels::Tensor& whole) = 0;
};

std::vector<std::unique_ptr<TensorGroup>> make_thread_tensor_groups(int size);

}  // namespace batchmax::comm
